// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 8-bit matrix product of one level. Include after a turn_*.h, with GROUP and BLOCKS as in
// gemm_tile.h and the level's i16 (sixteen int32_t), i_set1, i_load, i_load_some, i_store,
// i_store_some, i_add, and `pairs` with i_pairs and i_dot (sum + four unsigned bytes of A times
// four signed ones of B, exact).
//
// Signed A is packed with 128 added; the first row of each sliver of B takes 128 times the sum of
// its column away again.
#ifndef TENSOR_CPU_GEMM8_TILE_H
#define TENSOR_CPU_GEMM8_TILE_H

#include "tensor/cpu/gemm.h"

#include <emmintrin.h>
#include <string.h>

#define INLINED static inline __attribute__((always_inline))
#define UNROLL  _Pragma("GCC unroll 32")

enum {
    LANES = BLOCKS * 16,
    WORD = 4,
    AHEAD = 2 // rows of words of B that memory is asked for before they are packed
};

static const uint8_t *element(const struct tn_operand *o, size_t row, size_t column)
{
    return (const uint8_t *)o->data +
           (o->transposed ? column * o->stride + row : row * o->stride + column);
}

// Four rows of sixteen bytes to sixteen words.
static inline void interleave(const uint8_t *row, size_t stride, uint8_t *out)
{
    __m128i a = _mm_loadu_si128((const void *)row);
    __m128i b = _mm_loadu_si128((const void *)(row + stride));
    __m128i c = _mm_loadu_si128((const void *)(row + 2 * stride));
    __m128i d = _mm_loadu_si128((const void *)(row + 3 * stride));
    __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
    __m128i ab2 = _mm_unpackhi_epi8(a, b), cd2 = _mm_unpackhi_epi8(c, d);
    _mm_storeu_si128((void *)out, _mm_unpacklo_epi16(ab, cd));
    _mm_storeu_si128((void *)(out + 16), _mm_unpackhi_epi16(ab, cd));
    _mm_storeu_si128((void *)(out + 32), _mm_unpacklo_epi16(ab2, cd2));
    _mm_storeu_si128((void *)(out + 48), _mm_unpackhi_epi16(ab2, cd2));
}

// The same where only `count` bytes of `rows` rows exist: `count` words.
static void interleave_edge(const uint8_t *row, size_t stride, size_t count, size_t rows,
                            uint8_t *out)
{
    uint8_t edge[WORD * 16] = {0}, words[64];
    for (size_t i = 0; i < rows; i++) {
        memcpy(edge + i * 16, row + i * stride, count);
    }
    interleave(edge, 16, words);
    memcpy(out, words, count * WORD);
}

// The last word of `count` rows of k, of which `values` bytes exist.
static void last_words(const uint8_t *from, size_t stride, size_t count, size_t values,
                       uint8_t *out)
{
    memset(out, 0, count * WORD);
    for (size_t r = 0; r < count; r++) {
        memcpy(out + r * WORD, from + r * stride, values);
    }
}

static void pack_a(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out)
{
    const uint8_t *from = element(&g->a, first, k0);
    const size_t stride = g->a.stride, whole = values / WORD, rest = values % WORD;
    uint8_t *to = out;
    if (g->a.transposed) {
        for (size_t i = 0; i < values; i += WORD, from += WORD * stride) {
            interleave_edge(from, stride, count, values - i < WORD ? values - i : WORD,
                            to + i * count);
        }
    } else {
        turn_columns(from, stride, whole, count, to);
        if (rest) {
            last_words(from + whole * WORD, stride, count, rest, to + whole * count * WORD);
        }
    }
    for (size_t i = 0; g->a_signed && i < (whole + (rest != 0)) * count * WORD; i++) {
        to[i] ^= 0x80;
    }
}

// Where column c of B goes in slivers that begin at `out`; before it lies the row of sums.
INLINED uint8_t *sliver_column(void *out, size_t sliver_bytes, size_t c)
{
    return (uint8_t *)out + c / LANES * sliver_bytes + (LANES + c % LANES) * WORD;
}

// Columns that lie one after the other, sixteen of them turned at a time.
static void pack_turned(const uint8_t *from, size_t stride, size_t count, size_t values,
                        uint8_t *out)
{
    const size_t whole = values / WORD, rest = values % WORD, row = LANES * WORD;
    size_t i = 0;
    for (; count == 16 && i + 16 <= whole; i += 16) {
        turn_words(from + i * WORD, stride, out + i * row, row);
    }
    for (; i < whole + (rest != 0); i++) {
        memset(out + i * row, 0, 16 * WORD);
        last_words(from + i * WORD, stride, count, i < whole ? WORD : rest, out + i * row);
    }
}

// `rows` (1..4) rows of B to one row of words of all slivers.
static void pack_rows(const uint8_t *from, size_t stride, size_t count, size_t rows, size_t i,
                      void *out, size_t sliver_bytes)
{
    for (size_t c = 0; c < count; c += 16) {
        uint8_t *to = sliver_column(out, sliver_bytes, c) + i * LANES * WORD;
        if (rows == WORD && c + 16 <= count) {
            interleave(from + c, stride, to);
        } else {
            memset(to, 0, 16 * WORD);
            interleave_edge(from + c, stride, count - c < 16 ? count - c : 16, rows, to);
        }
    }
}

// A sixteen of a sliver that does not exist is not read, nor written.
static void pack_b(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out, size_t sliver_bytes)
{
    const size_t depth = (values + WORD - 1) / WORD, stride = g->b.stride;
    const uint8_t *from = element(&g->b, k0, first);
    for (size_t c = 0; g->b.transposed && c < count; c += 16) {
        pack_turned(from + c * stride, stride, count - c < 16 ? count - c : 16, values,
                    sliver_column(out, sliver_bytes, c));
    }
    for (size_t i = 0; !g->b.transposed && i < depth; i++) {
        const uint8_t *row = from + i * WORD * stride;
        size_t left = values - i * WORD;
        for (size_t c = 0; left > (AHEAD + 1) * WORD && c < count; c += 64) {
            for (size_t r = AHEAD * WORD; r < (AHEAD + 1) * WORD; r++) {
                __builtin_prefetch(row + r * stride + c);
            }
        }
        pack_rows(row, stride, count, left < WORD ? left : WORD, i, out, sliver_bytes);
    }
    for (size_t c = 0; c < count; c += 16) {
        const uint8_t *words = sliver_column(out, sliver_bytes, c);
        i16 sum = i_set1(0);
        for (size_t i = 0; g->a_signed && i < depth; i++) {
            sum = i_dot(sum, i_pairs_unsigned(i_set1((int32_t)0x80808080)),
                        i_pairs(i_load(words + i * LANES * WORD)));
        }
        i_store(sliver_column(out, sliver_bytes, c) - LANES * WORD, i_subtract(i_set1(0), sum));
    }
}

// R rows by B sixteens of columns (constants after inlining).
INLINED void multiply_block(const size_t R, const size_t B, const struct tn_gemm_block *t)
{
    i16 sum[GROUP][BLOCKS];
    pairs b[BLOCKS];
    const uint8_t *at_a = t->a, *at_b = t->b;
    UNROLL
    for (size_t j = 0; j < B; j++) {
        i16 start = i_load(at_b + j * 16 * WORD);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            __builtin_prefetch((const int32_t *)t->c + r * t->c_stride + j * 16, 0, 2);
            sum[r][j] = start;
        }
    }
    at_b += LANES * WORD;
    for (size_t i = 0; i < t->depth; i++, at_a += R * WORD, at_b += LANES * WORD) {
        UNROLL
        for (size_t j = 0; j < B; j++) {
            b[j] = i_pairs(i_load(at_b + j * 16 * WORD));
            __builtin_prefetch(at_b + (8 * LANES + j * 16) * WORD);
        }
        UNROLL
        for (size_t r = 0; r < R; r++) {
            int32_t word;
            memcpy(&word, at_a + r * WORD, sizeof word);
            pairs a = i_pairs_unsigned(i_set1(word));
            UNROLL
            for (size_t j = 0; j < B; j++) {
                sum[r][j] = i_dot(sum[r][j], a, b[j]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < B; j++) {
            int32_t *c = (int32_t *)t->c + r * t->c_stride + j * 16;
            size_t n = t->columns - j * 16;
            i16 value = sum[r][j];
            if (t->accumulate) {
                value = i_add(value, n >= 16 ? i_load(c) : i_load_some(c, n));
            }
            if (n >= 16) {
                i_store(c, value);
            } else {
                i_store_some(c, value, n);
            }
        }
    }
}

#define DEFINE_BLOCK(R, B)                                                                         \
    static void block_##R##_##B(const struct tn_gemm_block *t)                                     \
    {                                                                                              \
        multiply_block(R, B, t);                                                                   \
    }
#define NAME_BLOCK(R, B) block_##R##_##B,
#if GROUP == 2
#define EACH_HEIGHT(X, B) X(1, B) X(2, B)
#elif GROUP == 4
#define EACH_HEIGHT(X, B) X(1, B) X(2, B) X(3, B) X(4, B)
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

#define GEMM8_KERNELS                                                                              \
    {                                                                                              \
        GROUP, LANES, WORD, false, pack_a, pack_b, multiply                                        \
    }

#endif
