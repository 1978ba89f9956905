// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sixteen floats as one AVX-512 register. Meanings: simd_sse2.h. Include only from files built
// with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c.
#ifndef TENSOR_CPU_SIMD_AVX512_H
#define TENSOR_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

// Rows, and sixteens of columns, of one register block of attention's products.
#define BLOCK_ROWS     8
#define BLOCK_SIXTEENS 2
#define DIRECT_ROWS    8

typedef __m512 v16;

static inline __mmask16 first(size_t n)
{
    return (__mmask16)((1u << n) - 1u);
}
static inline v16 v_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline v16 v_load(const void *p)
{
    return _mm512_loadu_ps(p);
}
static inline v16 v_load_some(const void *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first(n), p);
}
static inline v16 v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
static inline v16 v_load_f16_some(const void *p, size_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
static inline v16 bf16_to_16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline v16 v_load_bf16(const void *p)
{
    return bf16_to_16(_mm256_loadu_si256(p));
}
static inline void v_store(void *p, v16 x)
{
    _mm512_storeu_ps(p, x);
}
static inline void v_store_some(void *p, v16 x, size_t n)
{
    _mm512_mask_storeu_ps(p, first(n), x);
}
static inline void v_store_f16(void *p, v16 x)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline v16 v_add(v16 x, v16 y)
{
    return _mm512_add_ps(x, y);
}
static inline v16 v_sub(v16 x, v16 y)
{
    return _mm512_sub_ps(x, y);
}
static inline v16 v_mul(v16 x, v16 y)
{
    return _mm512_mul_ps(x, y);
}
static inline v16 v_div(v16 x, v16 y)
{
    return _mm512_div_ps(x, y);
}
static inline v16 v_max(v16 x, v16 y)
{
    return _mm512_max_ps(x, y);
}
static inline v16 v_min(v16 x, v16 y)
{
    return _mm512_min_ps(x, y);
}
static inline v16 v_abs(v16 x)
{
    return _mm512_abs_ps(x);
}
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return _mm512_fmadd_ps(x, y, z);
}
static inline v16 v_swap_neighbours(v16 x)
{
    return _mm512_permute_ps(x, 0xb1);
}
static inline v16 v_zero_below(v16 x, float bound, v16 y)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(bound), _CMP_GE_OQ), y);
}
static inline v16 v_load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}
static inline v16 nibbles_to_16(__m128i n)
{
    n = _mm_sub_epi8(_mm_and_si128(n, _mm_set1_epi8(15)), _mm_set1_epi8(8));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(n));
}
static inline v16 v_load_low_nibbles(const void *p)
{
    return nibbles_to_16(_mm_loadu_si128(p));
}
static inline v16 v_load_high_nibbles(const void *p)
{
    return nibbles_to_16(_mm_srli_epi16(_mm_loadu_si128(p), 4));
}
static inline v16 v_truncate(v16 x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}
static inline v16 v_power_of_two(v16 t)
{
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}
static inline void v_store_low_byte(int8_t *p, v16 t)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_castps_si512(t)));
}
static inline float v_sum(v16 x)
{
    __m256 e = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_greatest(v16 x)
{
    __m256 e = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

#endif
