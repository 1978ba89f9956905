// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 8-bit matrix product with AVX2: bytes become words of sixteen bits, the even ones and the odd
// ones of each four, so that nothing saturates.
#include "tensor/cpu/turn_sse2.h"

#include <immintrin.h>

typedef struct {
    __m256i a, b;
} i16;
typedef struct {
    i16 even, odd;
} pairs;

static inline i16 i_set1(int32_t x)
{
    __m256i v = _mm256_set1_epi32(x);
    return (i16){v, v};
}
static inline i16 i_load(const void *p)
{
    const __m256i *v = p;
    return (i16){_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
}
static inline void i_store(void *p, i16 x)
{
    __m256i *v = p;
    _mm256_storeu_si256(v, x.a);
    _mm256_storeu_si256(v + 1, x.b);
}
static inline i16 i_load_some(const void *p, size_t n)
{
    int32_t v[16] = {0};
    memcpy(v, p, n * sizeof *v);
    return i_load(v);
}
static inline void i_store_some(void *p, i16 x, size_t n)
{
    int32_t v[16];
    i_store(v, x);
    memcpy(p, v, n * sizeof *v);
}
static inline i16 i_add(i16 x, i16 y)
{
    return (i16){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static inline i16 i_subtract(i16 x, i16 y)
{
    return (i16){_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
static inline i16 even_signed(i16 x)
{
    return (i16){_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8),
                 _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
}
static inline i16 odd_signed(i16 x)
{
    return (i16){_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)};
}
static inline i16 even_unsigned(i16 x)
{
    const __m256i low = _mm256_set1_epi16(0xff);
    return (i16){_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low)};
}
static inline i16 odd_unsigned(i16 x)
{
    return (i16){_mm256_srli_epi16(x.a, 8), _mm256_srli_epi16(x.b, 8)};
}
static inline pairs i_pairs(i16 x)
{
    return (pairs){even_signed(x), odd_signed(x)};
}
static inline pairs i_pairs_unsigned(i16 x)
{
    return (pairs){even_unsigned(x), odd_unsigned(x)};
}
static inline i16 i_multiply_pairs(i16 x, i16 y)
{
    return (i16){_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)};
}
static inline i16 i_dot(i16 sum, pairs a, pairs b)
{
    i16 both = i_add(i_multiply_pairs(a.even, b.even), i_multiply_pairs(a.odd, b.odd));
    return i_add(sum, both);
}

#define GROUP  4
#define BLOCKS 1
#include "tensor/cpu/gemm8_tile.h"

const struct tn_gemm_kernels tn_gemm8_avx2 = GEMM8_KERNELS;
