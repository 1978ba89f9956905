# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The trainer, a host program: build/bin/tessera-train.

train_c := $(sort $(filter-out %_test.c %_main.c,$(wildcard tensor/train/*.c)))
train_objects := $(patsubst %.c,$(BUILD)/host/%.o,$(train_c) tensor/train/train_main.c \
	tensor/format/gguf_write.c tensor/format/gguf_write_host.c tensor/format/gguf_values.c \
	tensor/format/gguf.c tensor/quant/types.c tensor/core/pool.c \
	tensor/core/pool_host.c tensor/cpu/gemm.c \
	$(filter-out %_test.c,$(wildcard tensor/cpu/gemm_*.c tensor/cpu/gemm8_*.c)))
host_programs += $(BUILD)/bin/tessera-train

$(BUILD)/bin/tessera-train: $(train_objects)
	@mkdir -p $(@D)
	$(CC) $^ -o $@ -lm -lpthread

# Training sessions (tensor/train.h) for programs that link $(TENSOR_HOST_OBJECTS) already.
TENSOR_TRAIN_OBJECTS := $(patsubst %,$(BUILD)/host/tensor/train/%.o,session trainer net ops gemm data \
	vocab vocab_learn string_map)
