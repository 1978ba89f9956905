# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Per-file flags of the tensor library: each ISA level is one file, chosen at run time.
AVX2_FLAGS := -O3 -mavx2 -mfma -mf16c
AVX512_FLAGS := $(AVX2_FLAGS) -mavx512f -mavx512bw -mavx512vl -mavx512dq
# This is the level that emulators run. They pay for each lane of a vector, and QEMU's for each jump
# from page to page, which functions of up to 2 KB then never take.
SCALAR_FLAGS := -O3 -fno-tree-vectorize -fno-tree-slp-vectorize -falign-functions=2048
CFLAGS_tensor/cpu/panel_scalar.c := $(SCALAR_FLAGS)
CFLAGS_tensor/cpu/row_scalar.c := $(SCALAR_FLAGS)
CFLAGS_tensor/cpu/kv.c := -O3
CFLAGS_tensor/cpu/row_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/cpu/row_avx512.c := $(AVX512_FLAGS)
CFLAGS_tensor/ops/elements_scalar.c := $(SCALAR_FLAGS)
CFLAGS_tensor/ops/elements_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/ops/elements_avx512.c := $(AVX512_FLAGS)
CFLAGS_tensor/ops/product.c := -O3
CFLAGS_tensor/cpu/weights.c := -O3
CFLAGS_tensor/cpu/product.c := -O3
CFLAGS_tensor/cpu/panel_columns.c := -O3
CFLAGS_tensor/cpu/decode.c := -O3
CFLAGS_tensor/cpu/reference_product.c := -O3
CFLAGS_tensor/cpu/reference_product_fma.c := -O3 -mfma
CFLAGS_tensor/cpu/panel_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/cpu/panel_avx512.c := $(AVX512_FLAGS)
CFLAGS_tensor/cpu/panel_avx512vnni.c := $(AVX512_FLAGS) -mavx512vnni
CFLAGS_tensor/cpu/gemv_scalar.c := $(SCALAR_FLAGS)
# Sanitizers would take minutes to compile these; gemv_test.c lets weights end at unreadable pages.
GEMV_SAFE := -fno-sanitize=address,undefined
CFLAGS_tensor/cpu/gemv_avx2.c := $(AVX2_FLAGS) $(GEMV_SAFE)
CFLAGS_tensor/cpu/gemv_avx512.c := $(AVX512_FLAGS) $(GEMV_SAFE)
CFLAGS_tensor/cpu/gemv_avx512vnni.c := $(AVX512_FLAGS) -mavx512vnni $(GEMV_SAFE)
CFLAGS_tensor/cpu/gemm.c := -O3
CFLAGS_tensor/cpu/gemm_scalar.c := -O3
CFLAGS_tensor/cpu/gemm_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/cpu/gemm_avx512.c := $(AVX512_FLAGS)
CFLAGS_tensor/cpu/gemm8_scalar.c := -O3
CFLAGS_tensor/cpu/gemm8_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/cpu/gemm8_avx512vnni.c := $(AVX512_FLAGS) -mavx512vnni
CFLAGS_tensor/cpu/float_product_scalar.c := -O3
CFLAGS_tensor/cpu/float_product_avx2.c := $(AVX2_FLAGS)
CFLAGS_tensor/cpu/float_product_avx512.c := $(AVX512_FLAGS)

# The runtime as the host links it: everything but training, with the host's own files.
TENSOR_HOST_OBJECTS := $(patsubst %.c,$(BUILD)/host/%.o,$(tensor_c) tensor/core/pool_host.c \
	tensor/format/gguf_write_host.c tensor/format/files_host.c)

# `make bench-gemm`; the other libraries are loaded at run time.
$(BUILD)/bench/gemm: $(patsubst %.c,$(BUILD)/host/%.o,ci/bench/gemm.c tensor/core/pool.c \
		tensor/core/pool_host.c $(filter-out %_test.c,$(wildcard tensor/cpu/gemm.c \
		tensor/cpu/gemm_*.c tensor/cpu/gemm8_*.c)))
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $^ -o $@ -ldl -lm -lpthread
