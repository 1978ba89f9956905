// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What kernels are called with, the same for host and device. Pointers come first in each (their
// number is in KERNELS): they are the device's addresses. Strides are in elements unless they say
// bytes.
#ifndef TENSOR_CUDA_KERNEL_TYPES_H
#define TENSOR_CUDA_KERNEL_TYPES_H

#include <stdint.h>

enum { CUDA_BLOCK_THREADS = 128 }; // of every kernel

// One row of the step: a token of a sequence, whose table of pages begins at `pages`.
struct cuda_row {
    int32_t token;
    uint32_t position, pages;
};

// grid (ceil(columns / 1024), rows)
struct cuda_embed {
    float *out;
    const float *in; // added; NULL: none
    const uint8_t *weights;
    const struct cuda_row *rows;
    uint64_t row_bytes;
    uint32_t columns, type;
    uint32_t by_position; // the weight's row is the token's position, otherwise its id
    float number;
};

// grid (parts, rows). Root mean square, or mean and variance when `centred`.
struct cuda_norm {
    float *out;
    const float *in, *weight, *bias; // bias: NULL: none
    uint32_t parts, length, centred; // length: of a part
    float epsilon;
};

// Heads, each normed unless `weight` is NULL and turned by its row's position. grid (heads, rows)
struct cuda_turn {
    float *out;
    const float *in, *weight, *turns; // turns: [row][turn_stride]: `pairs` cosines, then sines
    uint32_t heads, dim, pairs, turn_stride, split_halves;
    float epsilon;
};

// out[row][r] = activation(sum of in[row][k] weights[r][k] + bias[r]) + residual[row][r], then the
// soft cap. grid (ceil(outputs / 8), ceil(rows / 1 or 8))
struct cuda_product {
    float *out;
    const float *in, *bias, *residual; // bias, residual: NULL: none
    const uint8_t *weights;
    uint64_t row_bytes;
    uint32_t columns, outputs, rows, activation;
    float softcap; // 0: none
};

enum cuda_element { CUDA_ADD, CUDA_ADD_VECTOR, CUDA_ACTIVATE, CUDA_GATE };
// out[i] of two operands, `columns` a row. grid (ceil(count / 128), 1)
struct cuda_elements {
    float *out;
    const float *a, *b; // b: NULL for CUDA_ACTIVATE; one row for CUDA_ADD_VECTOR
    uint32_t count, columns, operation, activation;
};

// grid (ceil(columns / 128), rows)
struct cuda_take {
    float *out;
    const float *in;
    const uint32_t *rows; // which ones
    uint32_t columns;
};

// K and V into the pages; and once more as they are stored, row by row, for the sequences' owners.
// grid (kv_heads, rows)
struct cuda_kv_store {
    const float *keys, *values; // [row][kv_heads][dim]
    uint8_t *kv;                // the layer: [page][kv head]{K, V}, as exec.h says
    uint8_t *fresh;             // [row][kv head]{K, V}[dim], NULL: not wanted
    const uint32_t *pages;
    const struct cuda_row *rows;
    uint64_t page_bytes;
    uint32_t kv_type, dim, kv_heads;
};

enum {
    CUDA_HEADS_AT_ONCE = 4, // query heads that share a KV head, worked on together
    CUDA_MOST_DIM = 256,    // of a head
};
// grid (kv_heads * ceil(group / CUDA_HEADS_AT_ONCE), rows)
struct cuda_attention {
    float *out;
    const float *queries; // [row][heads][dim]
    const uint8_t *kv;    // the layer
    const uint32_t *pages;
    const struct cuda_row *rows;
    const float *sinks; // [heads], NULL: none
    uint64_t page_bytes;
    uint32_t kv_type, dim, kv_heads, group, window;
    float scale, softcap;
};

// Weight types that products have kernels for: name and GGUF id.
#define CUDA_WEIGHT_TYPES(X)                                                                       \
    X(f32, TN_F32)                                                                                 \
    X(f16, TN_F16)                                                                                 \
    X(bf16, TN_BF16)                                                                               \
    X(q8_0, TN_Q8_0)                                                                               \
    X(q4_0, TN_Q4_0)                                                                               \
    X(q4_1, TN_Q4_1)                                                                               \
    X(q5_0, TN_Q5_0)                                                                               \
    X(q5_1, TN_Q5_1)                                                                               \
    X(q4_k, TN_Q4_K)                                                                               \
    X(q5_k, TN_Q5_K)                                                                               \
    X(q6_k, TN_Q6_K)

enum { CUDA_PRODUCT_ROWS = 8, CUDA_PRODUCT_COLUMNS = 8 }; // of a block: weights' rows; step's rows

// Name, parameters, how many pointers they begin with.
#define CUDA_ROW_KERNELS(X)                                                                        \
    X(embed, cuda_embed, 4)                                                                        \
    X(norm, cuda_norm, 4)                                                                          \
    X(turn, cuda_turn, 4)                                                                          \
    X(elements, cuda_elements, 3)                                                                  \
    X(take, cuda_take, 3)                                                                          \
    X(kv_store, cuda_kv_store, 6)                                                                  \
    X(attention, cuda_attention, 6)
#define CUDA_PRODUCT_KERNEL(NAME, X)                                                               \
    X(product_##NAME##_1, cuda_product, 5)                                                         \
    X(product_##NAME##_8, cuda_product, 5)

enum cuda_kernel {
#define NAME_OF(NAME, PARAMETERS, POINTERS) CUDA_KERNEL_##NAME,
    CUDA_ROW_KERNELS(NAME_OF)
#undef NAME_OF
#define NAMES_OF(NAME, TYPE) CUDA_KERNEL_product_##NAME##_1, CUDA_KERNEL_product_##NAME##_8,
        CUDA_WEIGHT_TYPES(NAMES_OF)
#undef NAMES_OF
            CUDA_KERNEL_COUNT
};

#endif
