// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 with VNNI: the float kernels of AVX-512 and integer products by vpdpbusd, which
// multiplies unsigned by signed bytes and adds four neighbours into a 32-bit lane, exactly.
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/float_kernels.h"

// Signed weights become unsigned by flipping the top bit (+128); 128 times the column's sum goes
// off again.
ALWAYS_INLINE __m256i dot_bytes(__m256i w, __m256i x)
{
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x);
}
#define DOT_Q8(w, x) dot_bytes(_mm256_xor_si256(w, _mm256_set1_epi8((char)0x80)), x)
#define Q8_ZERO      128
#define DOT_Q4(w, x) dot_bytes(w, x)
#include "tensor/cpu/int_kernels.h"

void tn_avx512vnni_product_q8_0(const uint8_t *w, size_t row_bytes, size_t rows,
                                const struct tn_columns *x, size_t columns, float *out,
                                size_t out_stride)
{
    dot_q8_0(w, row_bytes, rows, x, columns, out, out_stride);
}

void tn_avx512vnni_product_q4_0(const uint8_t *w, size_t row_bytes, size_t rows,
                                const struct tn_columns *x, size_t columns, float *out,
                                size_t out_stride)
{
    dot_q4_0(w, row_bytes, rows, x, columns, out, out_stride);
}

const struct tn_kernels tn_kernels_avx512vnni = {
    .name = "avx512vnni",
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
};
