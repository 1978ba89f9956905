// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The scalar level: plain C for any x86-64, and what emulated machines run, where one integer
// multiplication costs what it says and everything wide costs dozens. So the integer products are
// made from 64-bit multiplications that each yield a sum of four products.
//
// A word W holds four weights of 0..15 in 16-bit digits, w0 lowest; a word X four signed values, x0
// in the highest digit: X = x0 2^48 + x1 2^32 + x2 2^16 + x3. Modulo 2^64 the product's digit 3 is
// w0 x0 + w1 x1 + w2 x2 + w3 x3. Four such products may be added before the digit is taken: |digit|
// <= 4 * 4 * 15 * 127 = 30480 < 2^15, and 2^47 more rounds the (signed) digits below it away.
#include "tensor/cpu/simd_sse2.h"

#include "tensor/cpu/float_kernels.h"

enum { WORDS_PER_BLOCK = TN_BLOCK / 4 };

static const uint64_t nibbles = 0x000f000f000f000full;
static const uint64_t round_up = 1ull << 47;

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// Exact for |n| < 2^22. Emulators convert an integer far slower than they subtract.
static float to_float(int32_t n)
{
    return tn_bits_float(0x4b400000u + (uint32_t)n) - 12582912.0f; // 1.5 * 2^23
}

static int32_t digit(uint64_t product)
{
    return (int32_t)((int64_t)(product + round_up) >> 48);
}

// Columns as words: for each eight values the even ones, then the odd ones.
static void quantise_to_words(const float *x, size_t k, void *values, float *scales, int32_t *sums)
{
    uint64_t *words = values;
    for (size_t b = 0; b < k / TN_BLOCK; b++, x += TN_BLOCK, words += WORDS_PER_BLOCK) {
        int8_t q[TN_BLOCK];
        quantise(x, TN_BLOCK, q, scales + b, sums + b);
        for (size_t i = 0; i < WORDS_PER_BLOCK; i++) {
            const int8_t *v = q + i / 2 * 8 + i % 2;
            uint64_t word = 0;
            for (size_t j = 0; j < 4; j++) {
                word = (word << 16) + (uint64_t)(int64_t)v[2 * j]; // signed digits: they borrow
            }
            words[i] = word;
        }
    }
}

// Sixteen signed weights as bytes w + 128 = 16 high + low.
ALWAYS_INLINE int32_t dot_sixteen(const uint8_t *q, const uint64_t *x)
{
    uint64_t a = load_u64(q) ^ 0x8080808080808080ull, b = load_u64(q + 8) ^ 0x8080808080808080ull;
    uint64_t low = (a & nibbles) * x[0] + (a >> 8 & nibbles) * x[1] + (b & nibbles) * x[2] +
                   (b >> 8 & nibbles) * x[3];
    uint64_t high = (a >> 4 & nibbles) * x[0] + (a >> 12 & nibbles) * x[1] +
                    (b >> 4 & nibbles) * x[2] + (b >> 12 & nibbles) * x[3];
    return digit(low) + 16 * digit(high);
}

ALWAYS_INLINE int32_t dot_q8_0_block(const uint8_t *q, const uint64_t *x, int32_t sum)
{
    return dot_sixteen(q, x) + dot_sixteen(q + 16, x + 4) - 128 * sum;
}

// Low nibbles are weights 0..15, high ones 16..31.
ALWAYS_INLINE int32_t dot_q4_0_block(const uint8_t *q, const uint64_t *x, int32_t sum)
{
    uint64_t a = load_u64(q), b = load_u64(q + 8);
    uint64_t low = (a & nibbles) * x[0] + (a >> 8 & nibbles) * x[1] + (b & nibbles) * x[2] +
                   (b >> 8 & nibbles) * x[3];
    uint64_t high = (a >> 4 & nibbles) * x[4] + (a >> 12 & nibbles) * x[5] +
                    (b >> 4 & nibbles) * x[6] + (b >> 12 & nibbles) * x[7];
    return digit(low) + digit(high) - 8 * sum;
}

#define DEFINE_DOT_ROWS(NAME, BLOCK_BYTES)                                                         \
    static void dot_##NAME(const uint8_t *w, size_t row_bytes, size_t rows,                        \
                           const struct tn_columns8 *x, size_t columns, size_t k, float *out,      \
                           size_t out_stride)                                                      \
    {                                                                                              \
        for (size_t c = 0; c < columns; c++) {                                                     \
            struct tn_columns8 column = tn_columns_from(x, c, k, 2);                               \
            for (size_t r = 0; r < rows; r++) {                                                    \
                const uint8_t *block = w + r * row_bytes;                                          \
                const uint64_t *words = column.values;                                             \
                float total = 0;                                                                   \
                for (size_t b = 0; b < k / TN_BLOCK; b++) {                                        \
                    int32_t sum = dot_##NAME##_block(block + 2, words, column.sums[b]);            \
                    total += tn_f16_to_f32(load_u16(block)) * column.scales[b] * to_float(sum);    \
                    block += (BLOCK_BYTES);                                                        \
                    words += WORDS_PER_BLOCK;                                                      \
                }                                                                                  \
                out[c * out_stride + r] = total;                                                   \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_DOT_ROWS(q8_0, 34)
DEFINE_DOT_ROWS(q4_0, 18)

const struct tn_kernels tn_kernels_scalar = {
    .name = "scalar",
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .to_f16 = to_f16,
    .attention = attention,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .column_value_bytes = 2,
    .quantise = quantise_to_words,
    .dot_q8_0 = dot_q8_0,
    .dot_q4_0 = dot_q4_0,
};
