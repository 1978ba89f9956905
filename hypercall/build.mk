# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The host's programs.
host_c = $(sort $(filter-out %_test.c %_fuzz.c,$(wildcard hypercall/host/$(1)/*.c)))
# What all of them need, as a library: each program and test takes what it uses.
base_c := $(call host_c,base)
define base_library
$(BUILD)/$(1)/libbase.a: $(patsubst %.c,$(BUILD)/$(1)/%.o,$(base_c))
	@mkdir -p $$(@D)
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$^

endef
$(foreach kind,host asan fuzzobj,$(eval $(call base_library,$(kind))))
BASE_LIBRARY := $(BUILD)/host/libbase.a
# That of a test or fuzzer by its name: `Links:` lines need not tell.
base_of = $(if $(filter hypercall/host/%,$(2)),$(BUILD)/$(1)/libbase.a)

# Of the weights' identity and copies: for the tool and the daemon.
store_c := $(call host_c,store)
# A fleet's specification, record, plan and endpoint: what needs no libvirt.
fleet_library_c := $(addprefix hypercall/host/fleet/,spec.c fields.c tables.c parts.c endpoint_parts.c \
	yaml.c version.c resolve.c record.c record_json.c plan.c proxy_config.c proxy_files.c proxy_folder.c \
	proxy_servers.c proxy_sync.c proxy_stats.c proxy_runtime.c proxy_process.c proxy_launch.c) hypercall/host/machine/values.c
tessera_c := $(foreach folder,tool fleet guest machine view talk remote packages image,$(call host_c,$(folder))) \
	$(filter-out %_host.c,$(call host_c,hardware)) $(store_c)
host_programs += $(BUILD)/bin/tessera

$(BUILD)/bin/tessera: $(patsubst %.c,$(BUILD)/host/%.o,$(tessera_c)) $(BASE_LIBRARY) $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS) -lmbedcrypto -lvirt -lcurl -lfdt -lyaml

# The daemon: its main file apart, so that tests link the rest.
tensord_c := $(filter-out %_host.c,$(call host_c,tensord)) $(store_c) hypercall/host/hardware/nvml.c
train_session_c := $(patsubst %,tensor/train/%.c,session trainer net ops gemm data vocab vocab_learn string_map)
tensord_tested_c := $(filter-out %/main.c,$(tensord_c)) tensor/format/files_host.c $(train_session_c) $(cuda_c)
TENSORD_LIBS := $(HOST_LIBS) -lmbedcrypto -lseccomp -lmicrohttpd
host_programs += $(BUILD)/bin/tensord

$(BUILD)/bin/tensord: $(patsubst %.c,$(BUILD)/host/%.o,$(tensord_c)) $(BASE_LIBRARY) $(TENSOR_HOST_OBJECTS) \
		$(TENSOR_TRAIN_OBJECTS) $(CUDA_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(TENSORD_LIBS)

# ---- channels: build/lib/libtessera-channel.a and its headers (build/include) -----------------
channel_c := $(filter-out hypercall/channel/guest.c,$(call find_c,hypercall/channel)) tensor/quant/types.c
channel_headers := hypercall/channel/channel.h hypercall/channel/channel_linux.h hypercall/abi/channel.h \
	tensor/types.h
host_programs += $(BUILD)/lib/libtessera-channel.a

$(BUILD)/lib/libtessera-channel.a: $(patsubst %.c,$(BUILD)/host/%.o,$(channel_c) hypercall/channel/linux_host.c) \
		$(addprefix $(BUILD)/include/,$(channel_headers))
	@mkdir -p $(@D)
	$(call say,library $@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(BUILD)/include/tensor/%.h: tensor/include/tensor/%.h
	@mkdir -p $(@D)
	$(Q)cp $< $@
$(BUILD)/include/hypercall/%.h: hypercall/%.h
	@mkdir -p $(@D)
	$(Q)cp $< $@
