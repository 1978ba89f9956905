// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Quantising a column, over sixteen-float vectors: include after one simd_*.h. No fused operations,
// so that every level gives the same bits.
#ifndef TENSOR_CPU_QUANTISE_H
#define TENSOR_CPU_QUANTISE_H

#include "tensor/cpu/columns.h"

#include <emmintrin.h>

// `count` values (a multiple of 16) to bytes of one scale, which is returned.
static inline float quantise_block(const float *x, size_t count, int8_t *values)
{
    const v16 shift = v_set1(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
    v16 most = v_abs(v_load(x));
    for (size_t i = 16; i < count; i += 16) {
        most = v_max(most, v_abs(v_load(x + i)));
    }
    float greatest = v_greatest(most);
    bool nothing = greatest <= 1e-30f; // the inverse must stay finite; NaN goes on as NaN
    v16 inverse = v_set1(nothing ? 0.0f : 127.0f / greatest);
    for (size_t i = 0; i < count; i += 16) {
        v_store_low_byte(values + i, v_add(v_mul(v_load(x + i), inverse), shift));
    }
    return nothing ? 0.0f : greatest / 127.0f;
}

// The sum of 16 or 32 values: psadbw adds unsigned bytes.
static inline int32_t sum_of(const int8_t *values, size_t count)
{
    __m128i sum = _mm_setzero_si128();
    for (size_t i = 0; i < count; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(values + i));
        v = _mm_xor_si128(v, _mm_set1_epi8((char)0x80)); // plus 128
        sum = _mm_add_epi64(sum, _mm_sad_epu8(v, _mm_setzero_si128()));
    }
    sum = _mm_add_epi64(sum, _mm_unpackhi_epi64(sum, sum));
    return _mm_cvtsi128_si32(sum) - 128 * (int32_t)count;
}

static void quantise_column(enum tn_columns_kind kind, const float *x, size_t k, int8_t *values,
                            float *scales, int32_t *sums)
{
    size_t block = kind == TN_COLUMNS_32 ? 32 : 256, run = kind == TN_COLUMNS_32 ? 32 : 16;
    for (size_t b = 0; b < k / block; b++, x += block) {
        scales[b] = quantise_block(x, block, values + b * block);
    }
    for (size_t b = 0; b < k / run; b++) {
        sums[b] = run == 16 ? sum_of(values + b * 16, 16) : sum_of(values + b * 32, 32);
    }
}

#endif
