// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sixteen floats in plain C. The three simd_*.h define the same names; what each does is given
// here. v_fma is fused where the machine has it, so kernels that use it differ between ISA levels;
// all other operations give the same bits everywhere.
#ifndef TENSOR_CPU_SIMD_SCALAR_H
#define TENSOR_CPU_SIMD_SCALAR_H

#include "tensor/half.h"

#include <stddef.h>

// Rows and columns of one register block of the float products.
#define TILE_ROWS    2
#define TILE_COLUMNS 2

typedef struct {
    float f[16];
} v16;

#define V_EACH for (int j_ = 0; j_ < 16; j_++)

static inline v16 v_set1(float x)
{
    v16 r;
    V_EACH r.f[j_] = x;
    return r;
}
static inline v16 v_load(const void *p)
{
    v16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
// The first n (0..16) from memory, zero beyond; reads nothing past them.
static inline v16 v_load_some(const void *p, size_t n)
{
    v16 r = v_set1(0);
    memcpy(&r, p, n * 4);
    return r;
}
static inline v16 v_load_f16(const void *p)
{
    uint16_t h[16];
    memcpy(h, p, sizeof h);
    v16 r;
    V_EACH r.f[j_] = tn_f16_to_f32(h[j_]);
    return r;
}
static inline v16 v_load_f16_some(const void *p, size_t n)
{
    uint16_t h[16] = {0};
    memcpy(h, p, n * 2);
    return v_load_f16(h);
}
static inline v16 v_load_bf16(const void *p)
{
    uint16_t h[16];
    memcpy(h, p, sizeof h);
    v16 r;
    V_EACH r.f[j_] = tn_bf16_to_f32(h[j_]);
    return r;
}
static inline v16 v_load_bf16_some(const void *p, size_t n)
{
    uint16_t h[16] = {0};
    memcpy(h, p, n * 2);
    return v_load_bf16(h);
}
static inline void v_store(void *p, v16 a)
{
    memcpy(p, &a, sizeof a);
}
static inline void v_store_some(void *p, v16 a, size_t n)
{
    memcpy(p, &a, n * 4);
}
static inline void v_store_f16(void *p, v16 a)
{
    uint16_t h[16];
    V_EACH h[j_] = tn_f32_to_f16(a.f[j_]);
    memcpy(p, h, sizeof h);
}
static inline v16 v_add(v16 a, v16 b)
{
    V_EACH a.f[j_] += b.f[j_];
    return a;
}
static inline v16 v_sub(v16 a, v16 b)
{
    V_EACH a.f[j_] -= b.f[j_];
    return a;
}
static inline v16 v_mul(v16 a, v16 b)
{
    V_EACH a.f[j_] *= b.f[j_];
    return a;
}
static inline v16 v_div(v16 a, v16 b)
{
    V_EACH a.f[j_] /= b.f[j_];
    return a;
}
// a > b ? a : b, so b when one of them is not a number.
static inline v16 v_max(v16 a, v16 b)
{
    V_EACH a.f[j_] = a.f[j_] > b.f[j_] ? a.f[j_] : b.f[j_];
    return a;
}
static inline v16 v_min(v16 a, v16 b)
{
    V_EACH a.f[j_] = a.f[j_] < b.f[j_] ? a.f[j_] : b.f[j_];
    return a;
}
static inline v16 v_abs(v16 a)
{
    V_EACH a.f[j_] = tn_bits_float(tn_float_bits(a.f[j_]) & 0x7fffffffu);
    return a;
}
// a * b + c
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    V_EACH c.f[j_] += a.f[j_] * b.f[j_];
    return c;
}
// For t = n + 1.5 * 2^23 with integer n in -126..127: 2^n.
static inline v16 v_power_of_two(v16 t)
{
    V_EACH t.f[j_] = tn_bits_float((tn_float_bits(t.f[j_]) << 23) + 0x3f800000u);
    return t;
}
// For the same t: the low byte of n, sixteen of them.
static inline void v_store_low_byte(int8_t *p, v16 t)
{
    V_EACH p[j_] = (int8_t)(uint8_t)tn_float_bits(t.f[j_]);
}
// Folds halves: 16 to 8 to 4 to 2 to 1. The order is part of the result.
static inline float v_sum(v16 a)
{
    for (int n = 8; n >= 1; n /= 2) {
        for (int i = 0; i < n; i++) {
            a.f[i] += a.f[i + n];
        }
    }
    return a.f[0];
}
static inline float v_greatest(v16 a)
{
    for (int n = 8; n >= 1; n /= 2) {
        for (int i = 0; i < n; i++) {
            a.f[i] = a.f[i] > a.f[i + n] ? a.f[i] : a.f[i + n];
        }
    }
    return a.f[0];
}
#undef V_EACH

#endif
