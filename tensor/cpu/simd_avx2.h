// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sixteen floats as two AVX2 registers. Meanings: simd_sse2.h. Include only from files built with
// -mavx2 -mfma -mf16c.
#ifndef TENSOR_CPU_SIMD_AVX2_H
#define TENSOR_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_ROWS     4
#define BLOCK_SIXTEENS 1
#define DIRECT_ROWS    2

typedef struct {
    __m256 a, b;
} v16;

static inline v16 v_set1(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline v16 v_load(const void *p)
{
    const float *f = p;
    return (v16){_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)};
}
static inline v16 v_load_some(const void *p, size_t n)
{
    float f[16] = {0};
    memcpy(f, p, n * 4);
    return v_load(f);
}
static inline v16 v_load_f16(const void *p)
{
    const __m128i *h = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
static inline v16 v_load_f16_some(const void *p, size_t n)
{
    uint16_t h[16] = {0};
    memcpy(h, p, n * 2);
    return v_load_f16(h);
}
static inline __m256 bf16_to_8(const __m128i *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
static inline v16 v_load_bf16(const void *p)
{
    const __m128i *h = p;
    return (v16){bf16_to_8(h), bf16_to_8(h + 1)};
}
static inline void v_store(void *p, v16 x)
{
    float *f = p;
    _mm256_storeu_ps(f, x.a);
    _mm256_storeu_ps(f + 8, x.b);
}
static inline void v_store_some(void *p, v16 x, size_t n)
{
    float f[16];
    v_store(f, x);
    memcpy(p, f, n * 4);
}
static inline void v_store_f16(void *p, v16 x)
{
    __m128i *h = p;
    _mm_storeu_si128(h, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(h + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline v16 v_add(v16 x, v16 y)
{
    return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
static inline v16 v_sub(v16 x, v16 y)
{
    return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
static inline v16 v_mul(v16 x, v16 y)
{
    return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static inline v16 v_div(v16 x, v16 y)
{
    return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
static inline v16 v_max(v16 x, v16 y)
{
    return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
static inline v16 v_min(v16 x, v16 y)
{
    return (v16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
static inline v16 v_abs(v16 x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline v16 v_swap_neighbours(v16 x)
{
    return (v16){_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
static inline v16 v_zero_below(v16 x, float bound, v16 y)
{
    __m256 b = _mm256_set1_ps(bound);
    return (v16){_mm256_and_ps(_mm256_cmp_ps(x.a, b, _CMP_GE_OQ), y.a),
                 _mm256_and_ps(_mm256_cmp_ps(x.b, b, _CMP_GE_OQ), y.b)};
}
static inline v16 bytes_to_16(__m128i v)
{
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))};
}
static inline v16 v_load_i8(const void *p)
{
    return bytes_to_16(_mm_loadu_si128(p));
}
static inline v16 nibbles_to_16(__m128i n)
{
    return bytes_to_16(_mm_sub_epi8(_mm_and_si128(n, _mm_set1_epi8(15)), _mm_set1_epi8(8)));
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
    return (v16){_mm256_round_ps(x.a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(x.b, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};
}
static inline __m256 power_of_two_8(__m256 t)
{
    __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}
static inline v16 v_power_of_two(v16 t)
{
    return (v16){power_of_two_8(t.a), power_of_two_8(t.b)};
}
static inline void v_store_low_byte(int8_t *p, v16 t)
{
    __m256i low = _mm256_set1_epi32(0xff);
    __m256i a = _mm256_and_si256(_mm256_castps_si256(t.a), low);
    __m256i b = _mm256_and_si256(_mm256_castps_si256(t.b), low);
    // Packing works within 128-bit lanes; the permutation brings the quarters back into order.
    __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
    __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}
static inline float v_sum(v16 x)
{
    __m256 e = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_greatest(v16 x)
{
    __m256 e = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

#endif
