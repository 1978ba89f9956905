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

# A product as a registered graph beside the executor's: build/bin/bench-ops [threads [rounds]].
$(BUILD)/bin/bench-ops: $(BUILD)/host/ci/bench/ops.o $(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)
