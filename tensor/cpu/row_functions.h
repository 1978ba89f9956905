// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The row kernels of row_kernels.h but attention's, written once over sixteen floats: include after
// one simd_*.h and attention_kernels.h.
#ifndef TENSOR_CPU_ROW_FUNCTIONS_H
#define TENSOR_CPU_ROW_FUNCTIONS_H

#include "tensor/cpu/row_kernels.h"
#include "tensor/cpu/row_math.h"
#include "tensor/half.h"

#include <string.h>

// Runs STATEMENT for i = 0, 16, 32..., with LOAD(p) and STORE(p, v) of sixteen floats at p + i, or
// of the rest at the end.
#define LOAD(p)     v_load((p) + i)
#define STORE(p, v) v_store((p) + i, v)
#define EACH_SIXTEEN(n, STATEMENT, LAST)                                                           \
    do {                                                                                           \
        size_t i = 0, rest = (n)&15;                                                               \
        for (; i + 16 <= (n); i += 16) {                                                           \
            STATEMENT;                                                                             \
        }                                                                                          \
        if (rest) {                                                                                \
            LAST;                                                                                  \
        }                                                                                          \
    } while (0)
#define LOAD_REST(p)     v_load_some((p) + i, rest)
#define STORE_REST(p, v) v_store_some((p) + i, v, rest)

// Sums in 64 lanes, element i in lane i mod 64; folded in halves.
ROW_INLINE float fold_64(const v16 s[4])
{
    return v_sum(v_add(v_add(s[0], s[2]), v_add(s[1], s[3])));
}

static float sum_of_squares(const float *x, size_t n, float centre)
{
    v16 s[4] = {v_set1(0), v_set1(0), v_set1(0), v_set1(0)}, c = v_set1(centre);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int j = 0; j < 4; j++) {
            v16 d = v_sub(v_load(x + i + 16 * j), c);
            s[j] = v_fma(d, d, s[j]);
        }
    }
    for (int j = 0; i < n; i += 16, j++) {
        size_t some = n - i < 16 ? n - i : 16;
        float d[16] = {0};
        for (size_t l = 0; l < some; l++) {
            d[l] = x[i + l] - centre;
        }
        s[j] = v_fma(v_load(d), v_load(d), s[j]);
    }
    return fold_64(s);
}

static float sum_of(const float *x, size_t n)
{
    v16 s[4] = {v_set1(0), v_set1(0), v_set1(0), v_set1(0)};
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int j = 0; j < 4; j++) {
            s[j] = v_add(s[j], v_load(x + i + 16 * j));
        }
    }
    for (int j = 0; i < n; i += 16, j++) {
        s[j] = v_add(s[j], v_load_some(x + i, n - i < 16 ? n - i : 16));
    }
    return fold_64(s);
}

static void rms_norm_row(float *y, const float *x, const float *weight, size_t n, float epsilon)
{
    float mean = sum_of_squares(x, n, 0) / (float)n;
    v16 r = v_set1(1.0f / __builtin_sqrtf(mean + epsilon));
    EACH_SIXTEEN(n, STORE(y, v_mul(v_mul(LOAD(x), r), LOAD(weight))),
                 STORE_REST(y, v_mul(v_mul(LOAD_REST(x), r), LOAD_REST(weight))));
}

static void layer_norm_row(float *y, const float *x, const float *weight, const float *bias,
                           size_t n, float epsilon)
{
    float mean = sum_of(x, n) / (float)n;
    float variance = sum_of_squares(x, n, mean) / (float)n;
    v16 m = v_set1(mean), r = v_set1(1.0f / __builtin_sqrtf(variance + epsilon));
    if (bias) {
        EACH_SIXTEEN(n, STORE(y, v_fma(v_mul(v_sub(LOAD(x), m), r), LOAD(weight), LOAD(bias))),
                     STORE_REST(y, v_fma(v_mul(v_sub(LOAD_REST(x), m), r), LOAD_REST(weight),
                                         LOAD_REST(bias))));
    } else {
        EACH_SIXTEEN(n, STORE(y, v_mul(v_mul(v_sub(LOAD(x), m), r), LOAD(weight))),
                     STORE_REST(y, v_mul(v_mul(v_sub(LOAD_REST(x), m), r), LOAD_REST(weight))));
    }
}

static void add_row(float *out, const float *a, const float *b, size_t n)
{
    EACH_SIXTEEN(n, STORE(out, v_add(LOAD(a), LOAD(b))),
                 STORE_REST(out, v_add(LOAD_REST(a), LOAD_REST(b))));
}

static void scale_row(float *x, size_t n, float factor)
{
    v16 f = v_set1(factor);
    EACH_SIXTEEN(n, STORE(x, v_mul(LOAD(x), f)), STORE_REST(x, v_mul(LOAD_REST(x), f)));
}

ROW_INLINE void activate_all(const enum ir_activation a, float *x, size_t n)
{
    EACH_SIXTEEN(n, STORE(x, activate_16(a, LOAD(x))), STORE_REST(x, activate_16(a, LOAD_REST(x))));
}

static void activate_row(enum ir_activation a, float *x, size_t n)
{
    if (a == IR_SILU) {
        activate_all(IR_SILU, x, n);
    } else if (a == IR_GELU) {
        activate_all(IR_GELU, x, n);
    } else if (a == IR_GELU_ERF) {
        activate_all(IR_GELU_ERF, x, n);
    }
}

ROW_INLINE void gate_all(const enum ir_activation a, float *gate, const float *up, size_t n)
{
    EACH_SIXTEEN(n, STORE(gate, gate_16(a, LOAD(gate), LOAD(up))),
                 STORE_REST(gate, gate_16(a, LOAD_REST(gate), LOAD_REST(up))));
}

static void gate_row(enum ir_activation a, float *gate, const float *up, size_t n)
{
    switch (a) {
    case IR_SILU:
        gate_all(IR_SILU, gate, up, n);
        break;
    case IR_GELU:
        gate_all(IR_GELU, gate, up, n);
        break;
    case IR_GELU_ERF:
        gate_all(IR_GELU_ERF, gate, up, n);
        break;
    case IR_SWIGLU_OAI:
        gate_all(IR_SWIGLU_OAI, gate, up, n);
        break;
    default:
        gate_all(IR_NONE, gate, up, n);
        break;
    }
}

static void softcap_row(float *x, size_t n, float cap)
{
    v16 c = v_set1(cap);
    EACH_SIXTEEN(n, STORE(x, v_mul(c, tanh_16(v_div(LOAD(x), c)))),
                 STORE_REST(x, v_mul(c, tanh_16(v_div(LOAD_REST(x), c)))));
}

ROW_INLINE v16 load_part(const float *p, size_t count)
{
    return count == 16 ? v_load(p) : v_load_some(p, count);
}

ROW_INLINE void store_part(float *p, v16 x, size_t count)
{
    if (count == 16) {
        v_store(p, x);
    } else {
        v_store_some(p, x, count);
    }
}

// (a, b) becomes (a cos - b sin, b cos + a sin): `count` pairs from pair i on.
ROW_INLINE void turn_part(float *out, const float *x, const float *table, size_t pairs, size_t i,
                          size_t count)
{
    v16 a = load_part(x + i, count), b = load_part(x + pairs + i, count);
    v16 cosine = load_part(table + i, count), sine = load_part(table + pairs + i, count);
    v16 minus = v_sub(v_set1(0), sine);
    store_part(out + i, v_fma(a, cosine, v_mul(b, minus)), count);
    store_part(out + pairs + i, v_fma(b, cosine, v_mul(a, sine)), count);
}

static void turn_halves_row(float *out, const float *x, const float *table, size_t pairs)
{
    EACH_SIXTEEN(pairs, turn_part(out, x, table, pairs, i, 16),
                 turn_part(out, x, table, pairs, i, rest));
}

ROW_INLINE v16 turned(v16 x, v16 cosines, v16 sines)
{
    return v_fma(x, cosines, v_mul(v_swap_neighbours(x), sines));
}

static void turn_neighbours_row(float *out, const float *x, const float *table, size_t pairs)
{
    const float *sines = table + 2 * pairs;
    EACH_SIXTEEN(2 * pairs, STORE(out, turned(LOAD(x), LOAD(table), LOAD(sines))),
                 STORE_REST(out, turned(LOAD_REST(x), LOAD_REST(table), LOAD_REST(sines))));
}

static void to_f16_row(uint16_t *out, const float *x, size_t n)
{
    uint16_t h[16];
    EACH_SIXTEEN(n, v_store_f16(out + i, LOAD(x)),
                 (v_store_f16(h, LOAD_REST(x)), memcpy(out + i, h, rest * sizeof *h)));
}

// The scale is max|x| / 127. Values too small to have an inverse become 0.
static uint16_t to_q8_0_block(const float *x, uint8_t *out)
{
    const v16 shift = v_set1(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
    v16 a = v_load(x), b = v_load(x + 16);
    float most = v_greatest(v_max(v_abs(a), v_abs(b)));
    v16 inverse = v_set1(most > 1e-30f ? 127.0f / most : 0);
    v_store_low_byte((int8_t *)out, v_add(v_mul(a, inverse), shift));
    v_store_low_byte((int8_t *)out + 16, v_add(v_mul(b, inverse), shift));
    return tn_f32_to_f16(most / 127.0f);
}

// The scale is the (first) value of greatest size / -8, so that it becomes 0 of 0..15.
static uint16_t to_q4_0_block(const float *x, uint8_t *out)
{
    const v16 shift = v_set1(12582912.0f), half = v_set1(8.5f), top = v_set1(15);
    v16 a = v_load(x), b = v_load(x + 16);
    float above = v_greatest(v_max(a, b));
    float below = v_greatest(v_sub(v_set1(0), v_min(a, b)));
    float value = above > below ? above : -below;
    for (int i = 0; above == below && i < 32; i++) { // the first one decides
        if (__builtin_fabsf(x[i]) == above) {
            value = x[i];
            break;
        }
    }
    float scale = value / -8.0f;
    v16 inverse = v_set1(__builtin_fabsf(value) > 1e-30f ? 1.0f / scale : 0);
    int8_t q[32]; // of values in 0.5..16.5 the whole part
    a = v_truncate(v_min(v_add(v_mul(a, inverse), half), top));
    b = v_truncate(v_min(v_add(v_mul(b, inverse), half), top));
    v_store_low_byte(q, v_add(a, shift));
    v_store_low_byte(q + 16, v_add(b, shift));
    for (int i = 0; i < 16; i++) {
        out[i] = (uint8_t)(q[i] | q[i + 16] << 4);
    }
    return tn_f32_to_f16(scale);
}

#define ROW_KERNELS(NAME)                                                                          \
    {                                                                                              \
        .name = (NAME), .rms_norm = rms_norm_row, .layer_norm = layer_norm_row, .add = add_row,    \
        .scale = scale_row, .activate = activate_row, .gate = gate_row, .softcap = softcap_row,    \
        .turn_halves = turn_halves_row, .turn_neighbours = turn_neighbours_row,                    \
        .to_f16 = to_f16_row, .to_q8_0 = to_q8_0_block, .to_q4_0 = to_q4_0_block,                  \
        .block_product = block_product, .direct_rows = DIRECT_ROWS, .score_direct = score_direct,  \
        .mix_direct = mix_direct, .keys_to_floats = keys_to_floats,                                \
        .values_to_floats = values_to_floats, .weigh = weigh, .combine = combine,                  \
        .divide = divide, .exponential = exponential,                                              \
    }

#endif
