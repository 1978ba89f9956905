// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 8-bit matrix product for any x86-64: bytes become words of sixteen bits, the even ones and
// the odd ones of each four, so that nothing saturates.
#include "tensor/cpu/turn_sse2.h"

#include <emmintrin.h>

typedef struct {
    __m128i a, b, c, d;
} i16;
typedef struct {
    i16 even, odd;
} pairs;

static inline i16 i_set1(int32_t x)
{
    __m128i v = _mm_set1_epi32(x);
    return (i16){v, v, v, v};
}
static inline i16 i_load(const void *p)
{
    const __m128i *v = p;
    return (i16){_mm_loadu_si128(v), _mm_loadu_si128(v + 1), _mm_loadu_si128(v + 2),
                 _mm_loadu_si128(v + 3)};
}
static inline void i_store(void *p, i16 x)
{
    __m128i *v = p;
    _mm_storeu_si128(v, x.a);
    _mm_storeu_si128(v + 1, x.b);
    _mm_storeu_si128(v + 2, x.c);
    _mm_storeu_si128(v + 3, x.d);
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
    return (i16){_mm_add_epi32(x.a, y.a), _mm_add_epi32(x.b, y.b), _mm_add_epi32(x.c, y.c),
                 _mm_add_epi32(x.d, y.d)};
}
static inline i16 i_subtract(i16 x, i16 y)
{
    return (i16){_mm_sub_epi32(x.a, y.a), _mm_sub_epi32(x.b, y.b), _mm_sub_epi32(x.c, y.c),
                 _mm_sub_epi32(x.d, y.d)};
}
static inline i16 even_signed(i16 x)
{
    return (i16){
        _mm_srai_epi16(_mm_slli_epi16(x.a, 8), 8), _mm_srai_epi16(_mm_slli_epi16(x.b, 8), 8),
        _mm_srai_epi16(_mm_slli_epi16(x.c, 8), 8), _mm_srai_epi16(_mm_slli_epi16(x.d, 8), 8)};
}
static inline i16 odd_signed(i16 x)
{
    return (i16){_mm_srai_epi16(x.a, 8), _mm_srai_epi16(x.b, 8), _mm_srai_epi16(x.c, 8),
                 _mm_srai_epi16(x.d, 8)};
}
static inline i16 even_unsigned(i16 x)
{
    const __m128i low = _mm_set1_epi16(0xff);
    return (i16){_mm_and_si128(x.a, low), _mm_and_si128(x.b, low), _mm_and_si128(x.c, low),
                 _mm_and_si128(x.d, low)};
}
static inline i16 odd_unsigned(i16 x)
{
    return (i16){_mm_srli_epi16(x.a, 8), _mm_srli_epi16(x.b, 8), _mm_srli_epi16(x.c, 8),
                 _mm_srli_epi16(x.d, 8)};
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
    return (i16){_mm_madd_epi16(x.a, y.a), _mm_madd_epi16(x.b, y.b), _mm_madd_epi16(x.c, y.c),
                 _mm_madd_epi16(x.d, y.d)};
}
static inline i16 i_dot(i16 sum, pairs a, pairs b)
{
    i16 both = i_add(i_multiply_pairs(a.even, b.even), i_multiply_pairs(a.odd, b.odd));
    return i_add(sum, both);
}

#define GROUP  2
#define BLOCKS 1
#include "tensor/cpu/gemm8_tile.h"

const struct tn_gemm_kernels tn_gemm8_scalar = GEMM8_KERNELS;
