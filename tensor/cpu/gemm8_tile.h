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

enum { LANES = BLOCKS * 16, WORD = 4 };

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

// Sixteen columns or fewer into one sixteenth of a sliver.
static void pack_sixteen(const struct tn_gemm *g, size_t first, size_t count, size_t k0,
                         size_t values, uint8_t *out)
{
    const uint8_t *from = element(&g->b, k0, first);
    const size_t stride = g->b.stride, whole = values / WORD, rest = values % WORD;
    const size_t row = LANES * WORD;
    size_t i = 0;
    if (!g->b.transposed) {
        for (; count == 16 && i < whole; i++) {
            interleave(from + i * WORD * stride, stride, out + i * row);
        }
        for (; i * WORD < values; i++) {
            memset(out + i * row, 0, 16 * WORD);
            interleave_edge(from + i * WORD * stride, stride, count,
                            values - i * WORD < WORD ? values - i * WORD : WORD, out + i * row);
        }
        return;
    }
    for (; count == 16 && i + 16 <= whole; i += 16) {
        turn_words(from + i * WORD, stride, out + i * row, row);
    }
    for (; i < whole + (rest != 0); i++) {
        memset(out + i * row, 0, 16 * WORD);
        last_words(from + i * WORD, stride, count, i < whole ? WORD : rest, out + i * row);
    }
}

static void pack_b(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out, size_t sliver_bytes)
{
    const size_t depth = (values + WORD - 1) / WORD;
    for (size_t c = 0; c < count; c += 16) { // a sixteen that is not there is not read
        uint8_t *start = (uint8_t *)out + c / LANES * sliver_bytes + c % LANES * WORD;
        uint8_t *to = start + LANES * WORD;
        pack_sixteen(g, first + c, count - c < 16 ? count - c : 16, k0, values, to);
        i16 sum = i_set1(0);
        for (size_t i = 0; g->a_signed && i < depth; i++) {
            sum = i_dot(sum, i_pairs_unsigned(i_set1((int32_t)0x80808080)),
                        i_pairs(i_load(to + i * LANES * WORD)));
        }
        i_store(start, i_subtract(i_set1(0), sum));
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
        GROUP, LANES, WORD, pack_a, pack_b, multiply                                               \
    }

#endif
