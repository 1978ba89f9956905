// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Row products of every computable type, written as the numerical contract of columns.h reads.
// Included once with MULTIPLY_ADD(a, b, c) fused and once not: levels with FMA and the scalar one.
#ifndef TENSOR_CPU_REFERENCE_PRODUCT_H
#define TENSOR_CPU_REFERENCE_PRODUCT_H

#include "tensor/cpu/decode.h"
#include "tensor/cpu/kernels.h"

// One block of 32 times a column's block.
static inline float add_block_32(uint32_t type, const struct tn_decoded *w,
                                 const struct tn_columns *x, size_t block, float total)
{
    const int8_t *v = x->values + block * 32;
    float dx = x->scales[block];
    int32_t dot = 0;
    for (int i = 0; i < 32; i++) {
        dot += w->q[i] * v[i];
    }
    total = MULTIPLY_ADD(w->d * dx, (float)dot, total);
    if (tn_type_has_minima(type)) {
        total = MULTIPLY_ADD(w->m, dx * (float)x->sums[block], total);
    }
    return total;
}

static inline float add_block_256(uint32_t type, const struct tn_decoded *w,
                                  const struct tn_columns *x, size_t block, float total)
{
    const int8_t *v = x->values + block * 256;
    const int32_t *sums = x->sums + block * 16;
    float dx = x->scales[block];
    int32_t scaled = 0, minima = 0;
    for (int j = 0; j < 16; j++) {
        int32_t dot = 0;
        for (int i = 16 * j; i < 16 * j + 16; i++) {
            dot += w->q[i] * v[i];
        }
        scaled += w->scale[j] * dot;
    }
    total = MULTIPLY_ADD(w->d * dx, (float)scaled, total);
    if (tn_type_has_minima(type)) {
        for (int j = 0; j < 16; j++) {
            minima += w->minimum[j] * sums[j];
        }
        total = MULTIPLY_ADD(-(w->m * dx), (float)minima, total);
    }
    return total;
}

static inline void integer_product(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                                   const struct tn_columns *x, size_t columns, float *out,
                                   size_t out_stride)
{
    const struct tn_type_info *t = tn_type_info(type);
    size_t blocks = x->k / t->block_values;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            out[c * out_stride + r] = 0;
        }
        for (size_t b = 0; b < blocks; b++) {
            struct tn_decoded block;
            tn_decode_block(type, w + r * row_bytes + b * t->block_bytes, &block);
            for (size_t c = 0; c < columns; c++) {
                struct tn_columns column = tn_columns_skip(x, c);
                float *o = out + c * out_stride + r;
                *o = t->block_values == 32 ? add_block_32(type, &block, &column, b, *o)
                                           : add_block_256(type, &block, &column, b, *o);
            }
        }
    }
}

static inline void float_product(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                                 const struct tn_columns *x, size_t columns, float *out,
                                 size_t out_stride)
{
    enum { PART = 64 };
    size_t bytes = type == TN_F32 ? 4 : 2;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            out[c * out_stride + r] = 0;
        }
        for (size_t from = 0; from < x->k; from += PART) {
            float part[PART];
            size_t count = x->k - from < PART ? x->k - from : PART;
            tn_dequantise_row(type, w + r * row_bytes + from * bytes, count, part);
            for (size_t c = 0; c < columns; c++) {
                float *o = out + c * out_stride + r;
                const float *v = x->floats + c * x->k + from;
                for (size_t i = 0; i < count; i++) {
                    *o = MULTIPLY_ADD(part[i], v[i], *o);
                }
            }
        }
    }
}

#define DEFINE_PRODUCT(TYPE, PRODUCT)                                                              \
    static void product_##TYPE(const uint8_t *w, size_t row_bytes, size_t rows,                    \
                               const struct tn_columns *x, size_t columns, float *out,             \
                               size_t out_stride)                                                  \
    {                                                                                              \
        PRODUCT(TYPE, w, row_bytes, rows, x, columns, out, out_stride);                            \
    }

DEFINE_PRODUCT(TN_F32, float_product)
DEFINE_PRODUCT(TN_F16, float_product)
DEFINE_PRODUCT(TN_BF16, float_product)
DEFINE_PRODUCT(TN_Q8_0, integer_product)
DEFINE_PRODUCT(TN_Q4_0, integer_product)
DEFINE_PRODUCT(TN_Q4_1, integer_product)
DEFINE_PRODUCT(TN_Q5_0, integer_product)
DEFINE_PRODUCT(TN_Q5_1, integer_product)
DEFINE_PRODUCT(TN_IQ4_NL, integer_product)
DEFINE_PRODUCT(TN_MXFP4, integer_product)
DEFINE_PRODUCT(TN_Q2_K, integer_product)
DEFINE_PRODUCT(TN_Q3_K, integer_product)
DEFINE_PRODUCT(TN_Q4_K, integer_product)
DEFINE_PRODUCT(TN_Q5_K, integer_product)
DEFINE_PRODUCT(TN_Q6_K, integer_product)
DEFINE_PRODUCT(TN_IQ4_XS, integer_product)

#define PRODUCT_TABLE                                                                              \
    {                                                                                              \
        [TN_F32] = product_TN_F32, [TN_F16] = product_TN_F16, [TN_BF16] = product_TN_BF16,         \
        [TN_Q8_0] = product_TN_Q8_0, [TN_Q4_0] = product_TN_Q4_0, [TN_Q4_1] = product_TN_Q4_1,     \
        [TN_Q5_0] = product_TN_Q5_0, [TN_Q5_1] = product_TN_Q5_1, [TN_IQ4_NL] = product_TN_IQ4_NL, \
        [TN_MXFP4] = product_TN_MXFP4, [TN_Q2_K] = product_TN_Q2_K, [TN_Q3_K] = product_TN_Q3_K,   \
        [TN_Q4_K] = product_TN_Q4_K, [TN_Q5_K] = product_TN_Q5_K, [TN_Q6_K] = product_TN_Q6_K,     \
        [TN_IQ4_XS] = product_TN_IQ4_XS,                                                           \
    }

#endif
