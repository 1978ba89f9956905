# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The CUDA executor, for programs of the host. Its kernels become PTX here if clang is there: for
# compute capability 7.0, from which drivers make code for all later ones.
cuda_c := $(call find_c,tensor/cuda)
CUDA_OBJECTS := $(patsubst %.c,$(BUILD)/host/%.o,$(cuda_c))
CUDA_CLANG_FLAGS := -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_70 -O3 \
	-ffp-contract=off -Wall -Wextra -Werror -Wno-unknown-cuda-version -Itensor/include -I.
cuda_kernel_headers := $(wildcard tensor/cuda/kernel*.h) tensor/include/tensor/types.h

cuda_ptx := $(BUILD)/gen/tensor/cuda/kernels.ptx
# Whether clang is there and has the target; and whether it was not when the file was made.
cuda_clang = $(CLANG) -print-targets 2>/dev/null | grep -q nvptx64
cuda_stale := $(if $(wildcard $(cuda_ptx)),$(shell test -s $(cuda_ptx) || { $(cuda_clang) && echo cuda-again; }))

$(cuda_ptx): $(cuda_kernel_headers) tensor/cuda/build.mk $(cuda_stale)
	@mkdir -p $(@D)
	$(call say,kernels $@)
	$(Q)if $(cuda_clang); then $(CLANG) $(CUDA_CLANG_FLAGS) -S tensor/cuda/kernels.h -o $@; \
	else echo '  no clang for NVPTX: programs are built without CUDA kernels'; : >$@; fi
.PHONY: cuda-again
cuda-again:
# The text as a C string; empty if there is none.
$(BUILD)/gen/tensor/cuda/kernel_text.h: $(cuda_ptx)
	$(Q)sed -e 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n"/' $< >$@ && echo '""' >>$@

CFLAGS_tensor/cuda/kernel_text.c := -I$(BUILD)/gen
$(foreach kind,host asan fuzzobj,$(BUILD)/$(kind)/tensor/cuda/kernel_text.o): $(BUILD)/gen/tensor/cuda/kernel_text.h
# Shared memory of a block is a plain array there: nothing may count on zeros in it.
CFLAGS_tensor/cuda/fake_driver_host.c := -ftrivial-auto-var-init=pattern -Wno-unused-function

# `make bench-cuda`; with the emulated device in it, to try the program where there is no GPU.
$(BUILD)/bench/cuda: $(BUILD)/host/ci/bench/cuda.o $(BUILD)/host/tensor/cuda/fake_driver_host.o $(CUDA_OBJECTS) \
		$(TENSOR_HOST_OBJECTS)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) -rdynamic $^ -o $@ $(HOST_LIBS) -ldl
