// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Float products for any x86-64: multiplied, then added.
#include "tensor/cpu/simd_sse2.h"
#include "tensor/cpu/turn_sse2.h"

// Four halves, each in the low part of a word, to floats. As a float's bits moved by 13, a half is
// itself times 2^-112, below the normal ones too; infinity and NaN get the exponent they lack.
static inline __m128 four_halves(__m128i h)
{
    __m128i rest = _mm_and_si128(h, _mm_set1_epi32(0x7fff));
    __m128i sign = _mm_slli_epi32(_mm_xor_si128(h, rest), 16);
    __m128i special =
        _mm_and_si128(_mm_cmpgt_epi32(rest, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f800000));
    __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(rest, 13)),
                               _mm_castsi128_ps(_mm_set1_epi32((127 + 112) << 23)));
    return _mm_or_ps(scaled, _mm_castsi128_ps(_mm_or_si128(sign, special)));
}

static inline v16 load_halves(const void *p)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i a = _mm_loadu_si128(p), b = _mm_loadu_si128((const __m128i *)p + 1);
    return (v16){four_halves(_mm_unpacklo_epi16(a, zero)), four_halves(_mm_unpackhi_epi16(a, zero)),
                 four_halves(_mm_unpacklo_epi16(b, zero)),
                 four_halves(_mm_unpackhi_epi16(b, zero))};
}

#define BLOCKS   1
#define GROUP    2
#define LOAD_F16 load_halves
#include "tensor/cpu/float_product_tile.h"

const struct tn_float_kernels tn_float_scalar = {GROUP, arrange, multiply};
