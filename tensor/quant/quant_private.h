// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the families of block types share: scales fitted to a run of values by least squares.
#ifndef TENSOR_QUANT_PRIVATE_H
#define TENSOR_QUANT_PRIVATE_H

#include "tensor/half.h"
#include "tensor/quant.h"

#include <errno.h>

// A family's functions for one type work on one block: as many values and bytes as types.c says.
struct quant_codec {
    int (*encode)(const float *x, uint8_t *out); // 0 or -ERANGE; the values are finite
    void (*decode)(const uint8_t *in, float *x);
};
extern const struct quant_codec quant_f32, quant_f16, quant_bf16, quant_q4_0, quant_q4_1,
    quant_q5_0, quant_q5_1, quant_q8_0, quant_q2_k, quant_q3_k, quant_q4_k, quant_q5_k, quant_q6_k,
    quant_iq4_nl, quant_iq4_xs, quant_mxfp4;

// Below this a block is all zero: no half-precision scale can hold it.
#define QUANT_TINY 1e-9f
enum { QUANT_RUN = 32 }; // the longest run that shares one scale

// Rounds to the nearest whole number, halves to even. |x| < 2^22.
static inline float quant_round(float x)
{
    return (x + 12582912.0f) - 12582912.0f;
}
static inline float quant_clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

// x is about d * q with whole q in [low, high]: returns the d of the least squared error among
// `steps` candidates around the largest value's, each refined by least squares. n <= QUANT_RUN.
float quant_fit_scale(const float *x, unsigned n, int low, int high, unsigned steps);
// The whole numbers for a given d, and the squared error they leave. d may be 0.
float quant_apply_scale(const float *x, unsigned n, float d, int low, int high, int8_t *q);

// x is about d * q + m with whole q in [0, high] and d >= 0. m is at most 0 when `below_zero`.
struct quant_line {
    float d, m;
};
struct quant_line quant_fit_line(const float *x, unsigned n, int high, bool below_zero,
                                 unsigned steps);
float quant_apply_line(const float *x, unsigned n, struct quant_line line, int high, uint8_t *q);

static inline uint16_t quant_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline void quant_store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline float quant_load_half(const uint8_t *p)
{
    return tn_f16_to_f32(quant_load_u16(p));
}
// Stores x as half precision and returns what was stored; -ERANGE through *rc when it is too large.
static inline float quant_store_half(uint8_t *p, float x, int *rc)
{
    uint16_t h = tn_f32_to_f16(x);
    if ((h & 0x7c00u) == 0x7c00u)
        *rc = -ERANGE;
    quant_store_u16(p, h);
    return tn_f16_to_f32(h);
}

#endif
