// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The float kernels, written once over sixteen-float vectors (v16) and compiled for each ISA level:
// include after one simd_*.h, in one file a level. Everything is static; the file's table names it.
#ifndef TENSOR_CPU_FLOAT_KERNELS_H
#define TENSOR_CPU_FLOAT_KERNELS_H

#include "tensor/cpu/kernels.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE v16 v_exp(v16 x)
{
    const v16 shift = v_set1(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
    x = v_min(v_max(x, v_set1(-87.0f)), v_set1(88.0f));
    v16 t = v_add(v_mul(x, v_set1(1.44269504f)), shift);
    v16 n = v_sub(t, shift);
    // ln 2 in two parts, the first with few bits, so that n times it is exact.
    v16 r = v_sub(v_sub(x, v_mul(n, v_set1(0.693359375f))), v_mul(n, v_set1(-2.12194440e-4f)));
    v16 p = v_set1(1.0f / 5040);
    p = v_add(v_mul(p, r), v_set1(1.0f / 720));
    p = v_add(v_mul(p, r), v_set1(1.0f / 120));
    p = v_add(v_mul(p, r), v_set1(1.0f / 24));
    p = v_add(v_mul(p, r), v_set1(1.0f / 6));
    p = v_add(v_mul(p, r), v_set1(0.5f));
    p = v_add(v_mul(p, r), v_set1(1.0f));
    p = v_add(v_mul(p, r), v_set1(1.0f));
    return v_mul(p, v_power_of_two(t));
}

static void rms_norm(float *y, const float *x, const float *weight, size_t n, float epsilon)
{
    size_t whole = n & ~(size_t)15, rest = n - whole;
    v16 sum = v_set1(0);
    for (size_t i = 0; i < whole; i += 16) {
        v16 a = v_load(x + i);
        sum = v_add(sum, v_mul(a, a));
    }
    if (rest) {
        v16 a = v_load_some(x + whole, rest);
        sum = v_add(sum, v_mul(a, a));
    }
    v16 r = v_set1(1.0f / __builtin_sqrtf(v_sum(sum) / (float)n + epsilon));
    for (size_t i = 0; i < whole; i += 16) {
        v_store(y + i, v_mul(v_mul(v_load(x + i), r), v_load(weight + i)));
    }
    if (rest) {
        v16 a = v_mul(v_load_some(x + whole, rest), r);
        v_store_some(y + whole, v_mul(a, v_load_some(weight + whole, rest)), rest);
    }
}

ALWAYS_INLINE v16 silu_times(v16 gate, v16 up)
{
    v16 e = v_exp(v_sub(v_set1(0), gate));
    return v_mul(v_div(gate, v_add(v_set1(1), e)), up);
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    size_t whole = n & ~(size_t)15, rest = n - whole;
    for (size_t i = 0; i < whole; i += 16) {
        v_store(gate + i, silu_times(v_load(gate + i), v_load(up + i)));
    }
    if (rest) {
        v16 y = silu_times(v_load_some(gate + whole, rest), v_load_some(up + whole, rest));
        v_store_some(gate + whole, y, rest);
    }
}

static void to_f16(uint16_t *out, const float *x, size_t n)
{
    size_t whole = n & ~(size_t)15, rest = n - whole;
    for (size_t i = 0; i < whole; i += 16) {
        v_store_f16(out + i, v_load(x + i));
    }
    if (rest) {
        uint16_t h[16];
        v_store_f16(h, v_load_some(x + whole, rest));
        memcpy(out + whole, h, rest * 2);
    }
}

// ---- rows of floats times columns ------------------------------------------------------------

// One register block of R rows and C columns (constants after inlining); each product has one
// v16 accumulator whatever R and C are.
#define DEFINE_DOT(NAME, BYTES, LOAD, LOAD_SOME)                                                   \
    ALWAYS_INLINE void block_##NAME(const int R, const int C, const uint8_t *w, size_t row_bytes,  \
                                    const float *x, size_t k, float *out, size_t out_stride)       \
    {                                                                                              \
        v16 sum[TILE_ROWS][TILE_COLUMNS], column[TILE_COLUMNS];                                    \
        size_t whole = k & ~(size_t)15, rest = k - whole;                                          \
        for (int r = 0; r < R; r++) {                                                              \
            for (int c = 0; c < C; c++) {                                                          \
                sum[r][c] = v_set1(0);                                                             \
            }                                                                                      \
        }                                                                                          \
        for (size_t i = 0; i < whole; i += 16) {                                                   \
            for (int c = 0; c < C; c++) {                                                          \
                column[c] = v_load(x + (size_t)c * k + i);                                         \
            }                                                                                      \
            for (int r = 0; r < R; r++) {                                                          \
                v16 row = LOAD(w + (size_t)r * row_bytes + i * (BYTES));                           \
                for (int c = 0; c < C; c++) {                                                      \
                    sum[r][c] = v_fma(row, column[c], sum[r][c]);                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        if (rest) {                                                                                \
            for (int c = 0; c < C; c++) {                                                          \
                column[c] = v_load_some(x + (size_t)c * k + whole, rest);                          \
            }                                                                                      \
            for (int r = 0; r < R; r++) {                                                          \
                v16 row = LOAD_SOME(w + (size_t)r * row_bytes + whole * (BYTES), rest);            \
                for (int c = 0; c < C; c++) {                                                      \
                    sum[r][c] = v_fma(row, column[c], sum[r][c]);                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < R; r++) {                                                              \
            for (int c = 0; c < C; c++) {                                                          \
                out[(size_t)c * out_stride + (size_t)r] = v_sum(sum[r][c]);                        \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void dot_##NAME(const uint8_t *w, size_t row_bytes, size_t rows, const float *x,        \
                           size_t columns, size_t k, float *out, size_t out_stride)                \
    {                                                                                              \
        for (size_t r = 0; r < rows;) {                                                            \
            const uint8_t *wr = w + r * row_bytes;                                                 \
            bool full = rows - r >= TILE_ROWS;                                                     \
            size_t c = 0;                                                                          \
            for (; full && columns - c >= TILE_COLUMNS; c += TILE_COLUMNS) {                       \
                block_##NAME(TILE_ROWS, TILE_COLUMNS, wr, row_bytes, x + c * k, k,                 \
                             out + c * out_stride + r, out_stride);                                \
            }                                                                                      \
            for (; c < columns; c++) {                                                             \
                if (full) {                                                                        \
                    block_##NAME(TILE_ROWS, 1, wr, row_bytes, x + c * k, k,                        \
                                 out + c * out_stride + r, out_stride);                            \
                } else {                                                                           \
                    block_##NAME(1, 1, wr, row_bytes, x + c * k, k, out + c * out_stride + r,      \
                                 out_stride);                                                      \
                }                                                                                  \
            }                                                                                      \
            r += full ? TILE_ROWS : 1;                                                             \
        }                                                                                          \
    }

DEFINE_DOT(f32, 4, v_load, v_load_some)
DEFINE_DOT(f16, 2, v_load_f16, v_load_f16_some)
DEFINE_DOT(bf16, 2, v_load_bf16, v_load_bf16_some)

// ---- attention ---------------------------------------------------------------------------------

// No fused operations: the same bits on every level. One page is one split; splits are combined in
// ascending order by the running maximum.
#define DEFINE_ATTENTION(NAME, BYTES, LOAD, LOAD_SOME)                                             \
    static void page_scores_##NAME(const float *q, const uint8_t *keys, size_t count, size_t dim,  \
                                   float scale, float *scores)                                     \
    {                                                                                              \
        size_t whole = dim & ~(size_t)15, rest = dim - whole;                                      \
        for (size_t p = 0; p < count; p++, keys += dim * (BYTES)) {                                \
            v16 sum = v_set1(0);                                                                   \
            for (size_t d = 0; d < whole; d += 16) {                                               \
                sum = v_add(sum, v_mul(v_load(q + d), LOAD(keys + d * (BYTES))));                  \
            }                                                                                      \
            if (rest) {                                                                            \
                v16 key = LOAD_SOME(keys + whole * (BYTES), rest);                                 \
                sum = v_add(sum, v_mul(v_load_some(q + whole, rest), key));                        \
            }                                                                                      \
            scores[p] = v_sum(sum) * scale;                                                        \
        }                                                                                          \
    }                                                                                              \
    static void page_mix_##NAME(float *out, const uint8_t *values, size_t count, size_t dim,       \
                                float old, const float *weights)                                   \
    {                                                                                              \
        size_t whole = dim & ~(size_t)15, rest = dim - whole;                                      \
        for (size_t d = 0; d < whole; d += 16) {                                                   \
            v16 sum = v_mul(v_load(out + d), v_set1(old));                                         \
            for (size_t p = 0; p < count; p++) {                                                   \
                v16 value = LOAD(values + (p * dim + d) * (BYTES));                                \
                sum = v_add(sum, v_mul(v_set1(weights[p]), value));                                \
            }                                                                                      \
            v_store(out + d, sum);                                                                 \
        }                                                                                          \
        if (rest) {                                                                                \
            v16 sum = v_mul(v_load_some(out + whole, rest), v_set1(old));                          \
            for (size_t p = 0; p < count; p++) {                                                   \
                v16 value = LOAD_SOME(values + (p * dim + whole) * (BYTES), rest);                 \
                sum = v_add(sum, v_mul(v_set1(weights[p]), value));                                \
            }                                                                                      \
            v_store_some(out + whole, sum, rest);                                                  \
        }                                                                                          \
    }

DEFINE_ATTENTION(f32, 4, v_load, v_load_some)
DEFINE_ATTENTION(f16, 2, v_load_f16, v_load_f16_some)

// One lane of v_exp: the same operations in the same order, so the same bits.
static float exp_one(float x)
{
    const float shift = 12582912.0f;
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    float t = x * 1.44269504f + shift, n = t - shift;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&t, &bits, sizeof t);
    return p * t;
}

static void attention(const struct tn_attention *a)
{
    size_t dim = a->dim;
    bool half = a->kv_type == TN_F16;
    size_t values_at = TN_KV_PAGE_TOKENS * dim * (half ? 2 : 4);
    for (size_t g = 0; g < a->group; g++) {
        const float *q = a->q + g * dim;
        float *out = a->out + g * dim;
        float greatest = -__builtin_inff(), total = 0;
        memset(out, 0, dim * sizeof *out);
        for (uint32_t from = 0; from < a->positions; from += TN_KV_PAGE_TOKENS) {
            uint32_t count = a->positions - from;
            count = count < TN_KV_PAGE_TOKENS ? count : TN_KV_PAGE_TOKENS;
            const uint8_t *page = a->kv + a->pages[from / TN_KV_PAGE_TOKENS] * a->page_bytes;
            float s[TN_KV_PAGE_TOKENS];
            if (half) {
                page_scores_f16(q, page, count, dim, a->scale, s);
            } else {
                page_scores_f32(q, page, count, dim, a->scale, s);
            }
            for (uint32_t p = count; p < TN_KV_PAGE_TOKENS; p++) {
                s[p] = s[0]; // must not change the maximum
            }
            float here = v_greatest(v_max(v_load(s), v_load(s + 16)));
            float next = greatest > here ? greatest : here;
            float old = next > greatest ? exp_one(greatest - next) : 1.0f; // exp(0) is 1 exactly
            v_store(s, v_exp(v_sub(v_load(s), v_set1(next))));
            if (count > 16) {
                v_store(s + 16, v_exp(v_sub(v_load(s + 16), v_set1(next))));
            }
            memset(s + count, 0, (TN_KV_PAGE_TOKENS - count) * sizeof *s);
            total = total * old + v_sum(v_add(v_load(s), v_load(s + 16)));
            greatest = next;
            if (half) {
                page_mix_f16(out, page + values_at, count, dim, old, s);
            } else {
                page_mix_f32(out, page + values_at, count, dim, old, s);
            }
        }
        for (size_t d = 0; d < dim; d++) {
            out[d] /= total;
        }
    }
}

#endif
