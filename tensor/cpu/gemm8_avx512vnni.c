// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 8-bit matrix product with AVX-512 VNNI.
#include "tensor/cpu/turn_avx512.h"

typedef __m512i i16;
typedef __m512i pairs; // words as they are

static inline i16 i_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline i16 i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
static inline i16 i_load_some(const void *p, size_t n)
{
    return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1u), p);
}
static inline void i_store(void *p, i16 x)
{
    _mm512_storeu_si512(p, x);
}
static inline void i_store_some(void *p, i16 x, size_t n)
{
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1u), x);
}
static inline i16 i_add(i16 x, i16 y)
{
    return _mm512_add_epi32(x, y);
}
static inline i16 i_subtract(i16 x, i16 y)
{
    return _mm512_sub_epi32(x, y);
}
static inline pairs i_pairs(i16 x)
{
    return x;
}
static inline pairs i_pairs_unsigned(i16 x)
{
    return x;
}
static inline i16 i_dot(i16 sum, pairs a, pairs b)
{
    return _mm512_dpbusd_epi32(sum, a, b);
}

#define GROUP  12
#define BLOCKS 2
#include "tensor/cpu/gemm8_tile.h"

const struct tn_gemm_kernels tn_gemm8_avx512vnni = GEMM8_KERNELS;
