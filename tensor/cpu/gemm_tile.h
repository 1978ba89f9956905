// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The f32 matrix product of one level, written once over sixteen-float vectors. Include after a
// simd_*.h and a turn_*.h, with GROUP (rows of a block of C) and BLOCKS (sixteens of its columns)
// set.
#ifndef TENSOR_CPU_GEMM_TILE_H
#define TENSOR_CPU_GEMM_TILE_H

#include "tensor/cpu/gemm.h"

#include <string.h>

#define INLINED static inline __attribute__((always_inline))
#define UNROLL  _Pragma("GCC unroll 32")

enum {
    LANES = BLOCKS * 16,
    AHEAD = 4 // rows of B that memory is asked for before they are packed
};

static const float *element(const struct tn_operand *o, size_t row, size_t column)
{
    return (const float *)o->data +
           (o->transposed ? column * o->stride + row : row * o->stride + column);
}

static void pack_a(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out)
{
    const float *from = element(&g->a, first, k0);
    float *to = out;
    if (!g->a.transposed) {
        turn_columns(from, g->a.stride * sizeof *from, values, count, to);
        return;
    }
    for (size_t i = 0; i < values; i++, from += g->a.stride, to += count) {
        if (count == GROUP) {
            memcpy(to, from, GROUP * sizeof *to);
        } else {
            memcpy(to, from, count * sizeof *to);
        }
    }
}

// Where column c of B goes in slivers that begin at `out`.
INLINED float *sliver_column(void *out, size_t sliver_bytes, size_t c)
{
    return (float *)((uint8_t *)out + c / LANES * sliver_bytes) + c % LANES;
}

// Columns that lie one after the other, sixteen of them turned at a time.
static void pack_turned(const struct tn_operand *o, const float *from, size_t count, size_t values,
                        float *out)
{
    size_t i = 0;
    for (; count == 16 && i + 16 <= values; i += 16) {
        for (size_t c = 0; c < 16; c++) {
            __builtin_prefetch(from + i + (16 + c) * o->stride);
        }
        turn_words((const uint8_t *)(from + i), o->stride * sizeof *from, out + i * LANES,
                   LANES * sizeof *out);
    }
    for (; i < values; i++) {
        for (size_t c = 0; c < 16; c++) {
            out[i * LANES + c] = c < count ? from[c * o->stride + i] : 0;
        }
    }
}

// A sixteen of a sliver that does not exist is not read, nor written.
static void pack_b(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out, size_t sliver_bytes)
{
    const float *from = element(&g->b, k0, first);
    for (size_t c = 0; g->b.transposed && c < count; c += 16) {
        pack_turned(&g->b, from + c * g->b.stride, count - c < 16 ? count - c : 16, values,
                    sliver_column(out, sliver_bytes, c));
    }
    for (size_t i = 0; !g->b.transposed && i < values; i++, from += g->b.stride) {
        const float *soon = i + AHEAD < values ? from + AHEAD * g->b.stride : from;
        size_t c = 0;
        for (; c + 16 <= count; c += 16) {
            __builtin_prefetch(soon + c);
            v_store(sliver_column(out, sliver_bytes, c) + i * LANES, v_load(from + c));
        }
        if (c < count) {
            v_store(sliver_column(out, sliver_bytes, c) + i * LANES,
                    v_load_some(from + c, count - c));
        }
    }
}

// C = alpha sums + beta C for a block of any size.
static __attribute__((noinline)) void put_block(const struct tn_gemm_block *t, const float *sums)
{
    float *c = t->c;
    for (size_t r = 0; r < t->rows; r++, c += t->c_stride, sums += LANES) {
        for (size_t j = 0; j < t->columns; j++) {
            float value = t->alpha * sums[j];
            c[j] = t->beta == 0.0f ? value : t->beta * c[j] + value;
        }
    }
}

// R rows by B sixteens of columns (constants after inlining).
INLINED void multiply_block(const size_t R, const size_t B, const struct tn_gemm_block *t)
{
    v16 sum[GROUP][BLOCKS], b[BLOCKS];
    const float *at_a = t->a, *at_b = t->b;
    const size_t step = t->b_step;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < B; j++) {
            __builtin_prefetch((const float *)t->c + r * t->c_stride + j * 16, 0, 2);
            sum[r][j] = v_set1(0);
        }
    }
    for (size_t i = 0; i < t->depth; i++, at_a += R, at_b += step) {
        UNROLL
        for (size_t j = 0; j < B; j++) {
            b[j] = v_load(at_b + j * 16);
            __builtin_prefetch(at_b + 8 * step + j * 16);
        }
        UNROLL
        for (size_t r = 0; r < R; r++) {
            v16 a = v_set1(at_a[r]);
            UNROLL
            for (size_t j = 0; j < B; j++) {
                sum[r][j] = v_fma(a, b[j], sum[r][j]);
            }
        }
    }
    if (t->columns == B * 16 && t->alpha == 1.0f && (t->beta == 0.0f || t->beta == 1.0f)) {
        const bool added = t->beta != 0.0f;
        UNROLL
        for (size_t r = 0; r < R; r++) {
            UNROLL
            for (size_t j = 0; j < B; j++) {
                float *c = (float *)t->c + r * t->c_stride + j * 16;
                v_store(c, added ? v_add(v_load(c), sum[r][j]) : sum[r][j]);
            }
        }
        return;
    }
    // Rarely: through memory, in a function that all blocks share.
    float sums[GROUP * LANES] __attribute__((aligned(64)));
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < B; j++) {
            v_store(sums + r * LANES + j * 16, sum[r][j]);
        }
    }
    put_block(t, sums);
}

#define DEFINE_BLOCK(R, B)                                                                         \
    static void block_##R##_##B(const struct tn_gemm_block *t)                                     \
    {                                                                                              \
        multiply_block(R, B, t);                                                                   \
    }
#define NAME_BLOCK(R, B) block_##R##_##B,
#if GROUP == 2
#define EACH_HEIGHT(X, B) X(1, B) X(2, B)
#elif GROUP == 6
#define EACH_HEIGHT(X, B) X(1, B) X(2, B) X(3, B) X(4, B) X(5, B) X(6, B)
#elif GROUP == 12
#define EACH_HEIGHT(X, B)                                                                          \
    X(1, B)                                                                                        \
    X(2, B) X(3, B) X(4, B) X(5, B) X(6, B) X(7, B) X(8, B) X(9, B) X(10, B) X(11, B) X(12, B)
#endif

EACH_HEIGHT(DEFINE_BLOCK, 1)
#if BLOCKS == 2
EACH_HEIGHT(DEFINE_BLOCK, 2)
#endif

static void multiply(const struct tn_gemm_block *t)
{
    // [sixteens - 1][rows - 1]
    static void (*const blocks[BLOCKS][GROUP])(const struct tn_gemm_block *) = {
        {EACH_HEIGHT(NAME_BLOCK, 1)},
#if BLOCKS == 2
        {EACH_HEIGHT(NAME_BLOCK, 2)}
#endif
    };
    blocks[(t->columns - 1) / 16][t->rows - 1](t);
}

#define GEMM_KERNELS                                                                               \
    {                                                                                              \
        GROUP, LANES, 1, true, pack_a, pack_b, multiply                                            \
    }

#endif
