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
