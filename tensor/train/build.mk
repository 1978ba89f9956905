# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The trainer, a host program: build/bin/tessera-train.

train_c := $(sort $(filter-out %_test.c %_main.c,$(wildcard tensor/train/*.c)))
train_objects := $(patsubst %.c,$(BUILD)/host/%.o,$(train_c) tensor/train/train_main.c \
	tensor/format/gguf_write.c tensor/format/gguf_write_host.c tensor/format/gguf_values.c \
	tensor/format/gguf.c tensor/quant/types.c)
host_programs += $(BUILD)/bin/tessera-train

# Matrix products live on fused multiply-add.
CFLAGS_tensor/train/gemm_portable.c := -ffp-contract=fast
CFLAGS_tensor/train/gemm_avx2.c := -ffp-contract=fast
CFLAGS_tensor/train/gemm_avx512.c := -ffp-contract=fast

$(BUILD)/bin/tessera-train: $(train_objects)
	@mkdir -p $(@D)
	$(CC) $^ -o $@ -lm -lpthread
