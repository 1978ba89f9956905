# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Host programs of the workloads: llm-native is apps/llm over sockets; llm-native-asan the same
# under the sanitizers.
llm_native_c := $(call find_c,apps/llm)
llm_native_c := $(filter-out %_guest.c,$(llm_native_c)) apps/llm/port_native_host.c \
	apps/llm/native_main.c tensor/core/pool_host.c $(tensor_c) \
	$(filter-out %/device.c,$(hypercall_c)) hypercall/guest/connect_host.c \
	$(addprefix libos/net/,http_server.c http_conn.c http_parse.c http_request.c http_reply.c \
	http_route.c http_buffer.c http_sockets_host.c) \
	$(addprefix /usr/share/llhttp/,api.c http.c llhttp.c)
host_programs += $(BUILD)/bin/llm-native

$(BUILD)/bin/llm-native: $(patsubst %.c,$(BUILD)/host/%.o,$(llm_native_c))
	@mkdir -p $(@D)
	$(CC) $^ -o $@ $(HOST_LIBS)
$(BUILD)/bin/llm-native-asan: $(patsubst %.c,$(BUILD)/asan/%.o,$(llm_native_c))
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $^ -o $@ $(HOST_LIBS)

# The host's side of channel tests and measurements.
host_programs += $(BUILD)/bin/tessera-channel
$(BUILD)/bin/tessera-channel: $(BUILD)/host/apps/channel/roles.o $(BUILD)/host/apps/channel/native_main.o \
		$(BUILD)/lib/libtessera-channel.a
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ -lpthread
