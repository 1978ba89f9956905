// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX2 + FMA + F16C. Integer products: eight weight rows at a time, one lane each.
#include "tensor/cpu/simd_avx2.h"

#include "tensor/cpu/float_kernels.h"

// |w| times x with w's sign: exact for every 8-bit w, and pairs stay below 2^15.
ALWAYS_INLINE __m256i dot_signed(__m256i w, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#define DOT_Q8(w, x) dot_signed(w, x)
#define Q8_ZERO      0
ALWAYS_INLINE __m256i dot_nibbles(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}
#define DOT_Q4(w, x) dot_nibbles(w, x)
#include "tensor/cpu/int_kernels.h"

void tn_avx2_product_q8_0(const uint8_t *w, size_t row_bytes, size_t rows,
                          const struct tn_columns *x, size_t columns, float *out, size_t out_stride)
{
    dot_q8_0(w, row_bytes, rows, x, columns, out, out_stride);
}

void tn_avx2_product_q4_0(const uint8_t *w, size_t row_bytes, size_t rows,
                          const struct tn_columns *x, size_t columns, float *out, size_t out_stride)
{
    dot_q4_0(w, row_bytes, rows, x, columns, out, out_stride);
}

const struct tn_kernels tn_kernels_avx2 = {
    .name = "avx2",
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
};
