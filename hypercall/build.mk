# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The host's programs.
TESSERA_C := $(sort $(filter-out %_test.c %_fuzz.c,$(wildcard hypercall/host/tool/*.c)))

$(BUILD)/bin/tessera: $(patsubst %.c,$(BUILD)/host/%.o,$(TESSERA_C)) $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $^ -o $@ $(HOST_LIBS)
