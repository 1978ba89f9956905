# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The host's programs.
tessera_c := $(sort $(filter-out %_test.c %_fuzz.c,$(wildcard hypercall/host/tool/*.c)))
host_programs += $(BUILD)/bin/tessera

$(BUILD)/bin/tessera: $(patsubst %.c,$(BUILD)/host/%.o,$(tessera_c)) $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS) -lmbedcrypto

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
