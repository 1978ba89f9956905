// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attention's parts, written once over sixteen floats: the block product that makes scores and
// mixes values, pages of KV to floats, scores to weights. Include after one simd_*.h.
#ifndef TENSOR_CPU_ATTENTION_KERNELS_H
#define TENSOR_CPU_ATTENTION_KERNELS_H

#include "tensor/cpu/row_kernels.h"
#include "tensor/cpu/row_math.h"
#include "tensor/half.h"

#include <string.h>

// R rows by S sixteens of columns, all in registers (R and S constants after inlining).
ROW_INLINE void register_block(const int R, const int S, const struct tn_block_product *p,
                               const float *a, const float *b, float *c)
{
    v16 sum[BLOCK_ROWS][BLOCK_SIXTEENS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) {
            sum[r][s] = p->add ? v_load(c + (size_t)r * p->c_stride + 16 * s) : v_set1(0);
        }
    }
    const size_t a_stride = p->a_stride;
    for (size_t i = 0; i < p->depth; i++, b += p->b_stride) {
        v16 row[BLOCK_SIXTEENS];
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) {
            row[s] = v_load(b + 16 * s);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            v16 factor = v_set1(a[(size_t)r * a_stride + i]);
#pragma GCC unroll 8
            for (int s = 0; s < S; s++) {
                sum[r][s] = v_fma(factor, row[s], sum[r][s]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) {
            v_store(c + (size_t)r * p->c_stride + 16 * s, sum[r][s]);
        }
    }
}

// R rows by all columns.
ROW_INLINE void row_block(const int R, const struct tn_block_product *p, size_t row)
{
    const float *a = p->a + row * p->a_stride;
    float *c = p->c + row * p->c_stride;
    size_t j = 0;
    for (; j + 16 * BLOCK_SIXTEENS <= p->columns; j += 16 * BLOCK_SIXTEENS) {
        register_block(R, BLOCK_SIXTEENS, p, a, p->b + j, c + j);
    }
    for (; j < p->columns; j += 16) {
        register_block(R, 1, p, a, p->b + j, c + j);
    }
}

static void block_product(const struct tn_block_product *p)
{
    size_t row = 0;
    for (; row + BLOCK_ROWS <= p->rows; row += BLOCK_ROWS) {
        row_block(BLOCK_ROWS, p, row);
    }
    if (BLOCK_ROWS > 4 && row + 4 <= p->rows) {
        row_block(BLOCK_ROWS > 4 ? 4 : 1, p, row);
        row += 4;
    }
    if (BLOCK_ROWS > 2 && row + 2 <= p->rows) {
        row_block(BLOCK_ROWS > 2 ? 2 : 1, p, row);
        row += 2;
    }
    if (row < p->rows) {
        row_block(1, p, row);
    }
}

// ---- pages to floats ---------------------------------------------------------------------------

enum { PAGE = TN_KV_PAGE_TOKENS };

static void quantised_keys_to_floats(uint32_t kv_type, const uint8_t *keys, size_t dim, float *out)
{
    for (size_t block = 0; block < dim / 32; block++, out += 32 * PAGE) {
        v16 lo = v_load_f16(keys), hi = v_load_f16(keys + 32);
        keys += PAGE * sizeof(uint16_t);
        if (kv_type == TN_Q8_0) {
            for (int d = 0; d < 32; d++, keys += PAGE) {
                v_store(out + d * (int)PAGE, v_mul(v_load_i8(keys), lo));
                v_store(out + d * (int)PAGE + 16, v_mul(v_load_i8(keys + 16), hi));
            }
        } else {
            for (int d = 0; d < 16; d++, keys += PAGE) {
                float *low = out + d * (int)PAGE, *high = low + 16 * (int)PAGE;
                v_store(low, v_mul(v_load_low_nibbles(keys), lo));
                v_store(low + 16, v_mul(v_load_low_nibbles(keys + 16), hi));
                v_store(high, v_mul(v_load_high_nibbles(keys), lo));
                v_store(high + 16, v_mul(v_load_high_nibbles(keys + 16), hi));
            }
        }
    }
}

static void keys_to_floats(uint32_t kv_type, const uint8_t *keys, size_t dim, float *out)
{
    if (kv_type == TN_F32) {
        memcpy(out, keys, dim * PAGE * sizeof *out);
    } else if (kv_type == TN_F16) {
        for (size_t i = 0; i < dim * PAGE; i += 16) {
            v_store(out + i, v_load_f16(keys + 2 * i));
        }
    } else {
        quantised_keys_to_floats(kv_type, keys, dim, out);
    }
}

static void quantised_values_to_floats(uint32_t kv_type, const uint8_t *row, size_t dim, float *out)
{
    for (size_t d = 0; d < dim; d += 32, out += 32) {
        uint16_t half;
        memcpy(&half, row, sizeof half);
        v16 scale = v_set1(tn_f16_to_f32(half));
        if (kv_type == TN_Q8_0) {
            v_store(out, v_mul(v_load_i8(row + 2), scale));
            v_store(out + 16, v_mul(v_load_i8(row + 18), scale));
            row += 34;
        } else {
            v_store(out, v_mul(v_load_low_nibbles(row + 2), scale));
            v_store(out + 16, v_mul(v_load_high_nibbles(row + 2), scale));
            row += 18;
        }
    }
}

static void values_to_floats(uint32_t kv_type, const uint8_t *values, size_t dim, size_t count,
                             size_t stride, float *out)
{
    size_t whole = dim & ~(size_t)15, rest = dim - whole;
    for (size_t p = 0; p < count; p++, out += stride) {
        if (kv_type == TN_Q8_0 || kv_type == TN_Q4_0) {
            quantised_values_to_floats(kv_type, values, dim, out);
            values += dim / 32 * (kv_type == TN_Q8_0 ? 34 : 18);
            continue;
        }
        bool half = kv_type == TN_F16;
        size_t bytes = half ? 2 : 4;
        for (size_t d = 0; d < whole; d += 16) {
            v_store(out + d, half ? v_load_f16(values + d * 2) : v_load(values + d * 4));
        }
        if (rest) {
            const uint8_t *last = values + whole * bytes;
            v_store(out + whole, half ? v_load_f16_some(last, rest) : v_load_some(last, rest));
        }
        values += dim * bytes;
    }
}

// ---- scores to weights -------------------------------------------------------------------------

static float weigh(float *s, size_t from, size_t to, size_t first, size_t last, float scale,
                   float cap, float *total)
{
    const float never = -__builtin_inff();
    size_t begin = first & ~(size_t)15, end = (last + 15) & ~(size_t)15;
    *total = 0;
    if (first >= last) {
        memset(s + from, 0, (to - from) * sizeof *s);
        return never;
    }
    memset(s + from, 0, (begin - from) * sizeof *s);
    memset(s + end, 0, (to - end) * sizeof *s);
    v16 factor = v_set1(scale), sum = v_set1(0);
    if (cap != 0) {
        v16 c = v_set1(cap);
        for (size_t i = begin; i < end; i += 16) {
            v_store(s + i, v_mul(c, tanh_16(v_div(v_mul(v_load(s + i), factor), c))));
        }
        factor = v_set1(1);
    }
    for (size_t i = begin; i < first; i++) {
        s[i] = never;
    }
    for (size_t i = last; i < end; i++) {
        s[i] = never;
    }
    v16 most[4] = {v_set1(never), v_set1(never), v_set1(never), v_set1(never)};
    size_t at = begin;
    for (; at + 64 <= end; at += 64) {
        for (size_t j = 0; j < 4; j++) {
            most[j] = v_max(v_load(s + at + 16 * j), most[j]);
        }
    }
    for (; at < end; at += 16) {
        most[0] = v_max(v_load(s + at), most[0]);
    }
    v16 greatest = v_max(v_max(most[0], most[1]), v_max(most[2], most[3]));
    float top = v_greatest(v_mul(greatest, factor));
    v16 down = v_set1(-top);
    for (size_t i = begin; i < end; i += 16) {
        v16 weight = exp_or_zero(v_fma(v_load(s + i), factor, down));
        v_store(s + i, weight);
        sum = v_add(sum, weight);
    }
    *total = v_sum(sum);
    return top;
}

static void combine(float *out, float old, const float *in, float new, size_t n)
{
    v16 a = v_set1(old), b = v_set1(new);
    for (size_t i = 0; i < n; i += 16) { // both are padded to sixteens
        v_store(out + i, v_fma(v_load(in + i), b, v_mul(v_load(out + i), a)));
    }
}

static void divide(float *out, const float *in, float divisor, size_t n)
{
    size_t whole = n & ~(size_t)15, rest = n - whole;
    v16 inverse = v_set1(1.0f / divisor);
    for (size_t i = 0; i < whole; i += 16) {
        v_store(out + i, v_mul(v_load(in + i), inverse));
    }
    if (rest) {
        v_store_some(out + whole, v_mul(v_load_some(in + whole, rest), inverse), rest);
    }
}

static float exponential(float x)
{
    float y[16];
    v_store(y, exp_or_zero(v_set1(x)));
    return y[0];
}

#endif
