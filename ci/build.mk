# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Synthetic models for comparing engines.
$(BUILD)/bin/make-model: $(BUILD)/host/ci/tools/make_model.o \
		$(BUILD)/host/tensor/model/synthetic_host.o \
		$(BUILD)/host/tensor/model/synthetic_vocabulary_host.o $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)

# Experiments whose numbers the READMEs give. Built on demand only.
$(BUILD)/bin/techniques: $(BUILD)/host/ci/bench/techniques.o $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)
# The JIT beside the compiler's kernels: tensor/jit/README.md.
$(BUILD)/bin/bench-jit: $(BUILD)/host/ci/bench/jit.o $(BUILD)/host/tensor/jit/jit_host.o \
		$(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)

# The floor of a tensor call: a bare guest, and its host peer (ci/bench/call_floor/README.md).
CALL_FLOOR := ci/bench/call_floor
BARE_CFLAGS := -std=gnu11 -O2 -g $(WARN) -I. -ffreestanding -fno-pie -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables
$(BUILD)/bare/%.o: %.c
	@mkdir -p $(@D)
	$(call say,bare $@)
	$(Q)$(CC) $(BARE_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/bare/%.o: %.asm
	@mkdir -p $(@D)
	$(call say,nasm $@)
	$(Q)$(NASM) -f elf64 -MD $(@:.o=.d) -MT $@ $< -o $@
$(BUILD)/images/call-floor.elf: $(BUILD)/bare/$(CALL_FLOOR)/entry.o $(BUILD)/bare/$(CALL_FLOOR)/guest.o
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)ld -static -no-pie -z noexecstack --no-warn-rwx-segments --build-id=none -Ttext-segment=0x200000 \
		-e start $^ -o $@
$(BUILD)/bin/call-floor-peer: $(patsubst %,$(BUILD)/host/$(CALL_FLOOR)/%.o,peer server samples ping_pong)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@
# In tensord's place, for tests of the tool.
$(BUILD)/bin/tensord-fake: $(BUILD)/host/ci/tools/tensord_fake.o
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ -ljansson
# A product as a registered graph beside the executor's: build/bin/bench-ops [threads [rounds]].
$(BUILD)/bin/bench-ops: $(BUILD)/host/ci/bench/ops.o $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)
# A fleet's endpoint without libvirt and agent, for tests.
$(BUILD)/bin/fleet-proxy: $(patsubst %.c,$(BUILD)/host/%.o,ci/tools/fleet_proxy.c $(fleet_library_c) \
		$(addprefix hypercall/host/machine/,size.c text.c tensord.c tensord_answer.c) $(store_c)) \
		$(BASE_LIBRARY) $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS) -lyaml -lmbedcrypto
