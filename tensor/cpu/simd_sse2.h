// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sixteen floats as four SSE2 registers, which every x86-64 has. The three simd_*.h define the same
// names; what each does is said here. v_fma is fused where the machine can, so what uses it differs
// between ISA levels; all other operations give the same bits everywhere.
#ifndef TENSOR_CPU_SIMD_SSE2_H
#define TENSOR_CPU_SIMD_SSE2_H

#include "tensor/half.h"

#include <emmintrin.h>
#include <stddef.h>

// Rows, and sixteens of columns, of one register block of attention's products.
#define BLOCK_ROWS     2
#define BLOCK_SIXTEENS 1
#define DIRECT_ROWS    1 // of its products with pages that are not in floats

typedef struct {
    __m128 a, b, c, d;
} v16;

static inline v16 v_set1(float x)
{
    __m128 v = _mm_set1_ps(x);
    return (v16){v, v, v, v};
}
static inline v16 v_load(const void *p)
{
    const float *f = p;
    return (v16){_mm_loadu_ps(f), _mm_loadu_ps(f + 4), _mm_loadu_ps(f + 8), _mm_loadu_ps(f + 12)};
}
// The first n (0..16) from memory, zero beyond; reads nothing past them.
static inline v16 v_load_some(const void *p, size_t n)
{
    float f[16] = {0};
    memcpy(f, p, n * 4);
    return v_load(f);
}
// Halves: integer code, sixteen times.
static inline v16 v_load_f16_some(const void *p, size_t n)
{
    uint16_t h[16];
    float f[16] = {0};
    memcpy(h, p, n * 2);
    for (size_t i = 0; i < n; i++) {
        f[i] = tn_f16_to_f32(h[i]);
    }
    return v_load(f);
}
static inline v16 v_load_f16(const void *p)
{
    return v_load_f16_some(p, 16);
}
static inline v16 v_load_bf16(const void *p)
{
    uint16_t h[16];
    float f[16];
    memcpy(h, p, sizeof h);
    for (int i = 0; i < 16; i++) {
        f[i] = tn_bf16_to_f32(h[i]);
    }
    return v_load(f);
}
static inline void v_store(void *p, v16 x)
{
    float *f = p;
    _mm_storeu_ps(f, x.a);
    _mm_storeu_ps(f + 4, x.b);
    _mm_storeu_ps(f + 8, x.c);
    _mm_storeu_ps(f + 12, x.d);
}
static inline void v_store_some(void *p, v16 x, size_t n)
{
    float f[16];
    v_store(f, x);
    memcpy(p, f, n * 4);
}
static inline void v_store_f16(void *p, v16 x)
{
    float f[16];
    uint16_t h[16];
    v_store(f, x);
    for (int i = 0; i < 16; i++) {
        h[i] = tn_f32_to_f16(f[i]);
    }
    memcpy(p, h, sizeof h);
}
static inline v16 v_add(v16 x, v16 y)
{
    return (v16){_mm_add_ps(x.a, y.a), _mm_add_ps(x.b, y.b), _mm_add_ps(x.c, y.c),
                 _mm_add_ps(x.d, y.d)};
}
static inline v16 v_sub(v16 x, v16 y)
{
    return (v16){_mm_sub_ps(x.a, y.a), _mm_sub_ps(x.b, y.b), _mm_sub_ps(x.c, y.c),
                 _mm_sub_ps(x.d, y.d)};
}
static inline v16 v_mul(v16 x, v16 y)
{
    return (v16){_mm_mul_ps(x.a, y.a), _mm_mul_ps(x.b, y.b), _mm_mul_ps(x.c, y.c),
                 _mm_mul_ps(x.d, y.d)};
}
static inline v16 v_div(v16 x, v16 y)
{
    return (v16){_mm_div_ps(x.a, y.a), _mm_div_ps(x.b, y.b), _mm_div_ps(x.c, y.c),
                 _mm_div_ps(x.d, y.d)};
}
// x > y ? x : y, so y when one of them is not a number.
static inline v16 v_max(v16 x, v16 y)
{
    return (v16){_mm_max_ps(x.a, y.a), _mm_max_ps(x.b, y.b), _mm_max_ps(x.c, y.c),
                 _mm_max_ps(x.d, y.d)};
}
static inline v16 v_min(v16 x, v16 y)
{
    return (v16){_mm_min_ps(x.a, y.a), _mm_min_ps(x.b, y.b), _mm_min_ps(x.c, y.c),
                 _mm_min_ps(x.d, y.d)};
}
static inline v16 v_abs(v16 x)
{
    __m128 sign = _mm_set1_ps(-0.0f);
    return (v16){_mm_andnot_ps(sign, x.a), _mm_andnot_ps(sign, x.b), _mm_andnot_ps(sign, x.c),
                 _mm_andnot_ps(sign, x.d)};
}
// x * y + z
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return v_add(v_mul(x, y), z);
}
// Lanes 0 and 1 change places, 2 and 3, and so on.
static inline v16 v_swap_neighbours(v16 x)
{
    return (v16){_mm_shuffle_ps(x.a, x.a, 0xb1), _mm_shuffle_ps(x.b, x.b, 0xb1),
                 _mm_shuffle_ps(x.c, x.c, 0xb1), _mm_shuffle_ps(x.d, x.d, 0xb1)};
}
// y where x >= bound, otherwise 0 (also where x is not a number).
static inline v16 v_zero_below(v16 x, float bound, v16 y)
{
    __m128 b = _mm_set1_ps(bound);
    return (v16){_mm_and_ps(_mm_cmpge_ps(x.a, b), y.a), _mm_and_ps(_mm_cmpge_ps(x.b, b), y.b),
                 _mm_and_ps(_mm_cmpge_ps(x.c, b), y.c), _mm_and_ps(_mm_cmpge_ps(x.d, b), y.d)};
}
// Sixteen signed bytes; the low or the high nibbles of sixteen bytes, less 8.
static inline v16 v_load_i8(const void *p)
{
    const int8_t *q = p;
    float f[16];
    for (int i = 0; i < 16; i++) {
        f[i] = (float)q[i];
    }
    return v_load(f);
}
static inline v16 v_load_low_nibbles(const void *p)
{
    const uint8_t *q = p;
    float f[16];
    for (int i = 0; i < 16; i++) {
        f[i] = (float)((q[i] & 15) - 8);
    }
    return v_load(f);
}
static inline v16 v_load_high_nibbles(const void *p)
{
    const uint8_t *q = p;
    float f[16];
    for (int i = 0; i < 16; i++) {
        f[i] = (float)((q[i] >> 4) - 8);
    }
    return v_load(f);
}
// Without what is behind the point; |x| < 2^31.
static inline v16 v_truncate(v16 x)
{
    return (v16){_mm_cvtepi32_ps(_mm_cvttps_epi32(x.a)), _mm_cvtepi32_ps(_mm_cvttps_epi32(x.b)),
                 _mm_cvtepi32_ps(_mm_cvttps_epi32(x.c)), _mm_cvtepi32_ps(_mm_cvttps_epi32(x.d))};
}
static inline __m128 power_of_two_4(__m128 t)
{
    __m128i bits = _mm_slli_epi32(_mm_castps_si128(t), 23);
    return _mm_castsi128_ps(_mm_add_epi32(bits, _mm_set1_epi32(0x3f800000)));
}
// For t = n + 1.5 * 2^23 with integer n in -126..127: 2^n.
static inline v16 v_power_of_two(v16 t)
{
    return (v16){power_of_two_4(t.a), power_of_two_4(t.b), power_of_two_4(t.c),
                 power_of_two_4(t.d)};
}
// For the same t: the low byte of n, sixteen of them.
static inline void v_store_low_byte(int8_t *p, v16 t)
{
    float f[16];
    v_store(f, t);
    for (int i = 0; i < 16; i++) {
        p[i] = (int8_t)(uint8_t)tn_float_bits(f[i]);
    }
}
// Folds halves: 16 to 8 to 4 to 2 to 1. The order is part of the result.
static inline float v_sum(v16 x)
{
    __m128 q = _mm_add_ps(_mm_add_ps(x.a, x.c), _mm_add_ps(x.b, x.d));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline float v_greatest(v16 x)
{
    __m128 q = _mm_max_ps(_mm_max_ps(x.a, x.c), _mm_max_ps(x.b, x.d));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

#endif
