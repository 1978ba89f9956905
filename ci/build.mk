# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Programs of the tests.
$(BUILD)/bin/make-model: $(BUILD)/host/ci/tools/make_model.o $(BUILD)/host/tensor/model/synthetic_host.o \
		$(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ $(HOST_LIBS)
