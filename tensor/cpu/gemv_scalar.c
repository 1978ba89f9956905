// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Integer products of the scalar level: plain C for any x86-64, and what emulated machines run,
// where one integer multiplication costs what it says and everything wide costs dozens. So they
// are made from 64-bit multiplications that each yield a sum of four products.
//
// A word W holds four weights of 0..m in 16-bit digits, w0 lowest; a word X four signed values, x0
// in the highest digit: X = x0 2^48 + x1 2^32 + x2 2^16 + x3. Modulo 2^64 the product's digit 3 is
// w0 x0 + w1 x1 + w2 x2 + w3 x3. As long as |digit| <= n * 4 * m * 127 < 2^15, n such products may
// be added before the digit is taken: four for m = 15, two for 31, one for 63. 2^47 more rounds the
// (signed) digits below it away.
//
// Each type's code serves rows as they stand in a GGUF and packed ones (packed.h): `step` is how
// far the next four bytes of a row are, 4 or 64.
#include "tensor/cpu/decode.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/packed.h"
#include "tensor/half.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static const uint64_t even_bytes = 0x00ff00ff00ff00ffull;
static const uint64_t round_up = 1ull << 47;
#define EACH(byte) ((uint64_t)(byte)*0x0101010101010101ull)

ALWAYS_INLINE uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
ALWAYS_INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
// Eight bytes of a row from its dword i on.
ALWAYS_INLINE uint64_t eight(const uint8_t *p, int i, const int step)
{
    if (step == 4) {
        uint64_t v;
        memcpy(&v, p + 4 * i, sizeof v);
        return v;
    }
    return load_u32(p + i * step) | (uint64_t)load_u32(p + (i + 1) * step) << 32;
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

// A column as words: for each eight values the even ones, then the odd ones.
void tn_scalar_arrange(const int8_t *values, size_t k, uint8_t *out)
{
    for (size_t i = 0; i < k / 4; i++, out += sizeof(uint64_t)) {
        const int8_t *v = values + i / 2 * 8 + i % 2;
        uint64_t word = 0;
        for (size_t j = 0; j < 4; j++) {
            word = (word << 16) + (uint64_t)(int64_t)v[2 * j]; // signed digits: they borrow
        }
        memcpy(out, &word, sizeof word);
    }
}

// Eight weights times eight values, not yet a digit.
ALWAYS_INLINE uint64_t product_of(uint64_t w, const uint64_t *x)
{
    return (w & even_bytes) * x[0] + (w >> 8 & even_bytes) * x[1];
}
// Sixteen weights of 0..15, 0..31 (or less), 0..63.
ALWAYS_INLINE int32_t dot_15(uint64_t a, uint64_t b, const uint64_t *x)
{
    return digit(product_of(a, x) + product_of(b, x + 2));
}
ALWAYS_INLINE int32_t dot_31(uint64_t a, uint64_t b, const uint64_t *x)
{
    return digit(product_of(a, x)) + digit(product_of(b, x + 2));
}
ALWAYS_INLINE int32_t dot_63(uint64_t a, uint64_t b, const uint64_t *x)
{
    return digit((a & even_bytes) * x[0]) + digit((a >> 8 & even_bytes) * x[1]) +
           digit((b & even_bytes) * x[2]) + digit((b >> 8 & even_bytes) * x[3]);
}

// ---- blocks of 32 ------------------------------------------------------------------------------

// Sixteen signed weights as bytes w + 128 = 16 high + low.
ALWAYS_INLINE int32_t dot_bytes(uint64_t a, uint64_t b, const uint64_t *x)
{
    return dot_15(a & EACH(15), b & EACH(15), x) +
           16 * dot_15(a >> 4 & EACH(15), b >> 4 & EACH(15), x);
}
ALWAYS_INLINE int32_t dot_q8_0(const uint8_t *p, const int step, const uint64_t *x, int32_t sum)
{
    const uint64_t flip = step == 4 ? EACH(0x80) : 0;
    return dot_bytes(eight(p, 0, step) ^ flip, eight(p, 2, step) ^ flip, x) +
           dot_bytes(eight(p, 4, step) ^ flip, eight(p, 6, step) ^ flip, x + 4) - 128 * sum;
}
// Low nibbles are weights 0..15, high ones 16..31.
ALWAYS_INLINE int32_t dot_nibbles(const uint8_t *p, const int step, const uint64_t *x)
{
    uint64_t a = eight(p, 0, step), b = eight(p, 2, step);
    return dot_15(a & EACH(15), b & EACH(15), x) +
           dot_15(a >> 4 & EACH(15), b >> 4 & EACH(15), x + 4);
}
ALWAYS_INLINE int32_t dot_q4_0(const uint8_t *p, const int step, const uint64_t *x, int32_t sum)
{
    return dot_nibbles(p, step, x) - 8 * sum;
}
ALWAYS_INLINE int32_t dot_q4_1(const uint8_t *p, const int step, const uint64_t *x, int32_t sum)
{
    (void)sum;
    return dot_nibbles(p, step, x);
}
// Bit i to byte i, as 0 or 1.
ALWAYS_INLINE uint64_t bits_to_bytes(uint32_t bits)
{
    uint64_t copies = EACH(bits & 255) & 0x8040201008040201ull; // byte i keeps bit i
    return (copies + 0x00406070787c7e7full) >> 7 & EACH(1);     // to its top bit
}
ALWAYS_INLINE int32_t dot_q5_1(const uint8_t *p, const int step, const uint64_t *x, int32_t sum)
{
    (void)sum;
    uint32_t high = load_u32(p);
    uint64_t a = eight(p, 1, step), b = eight(p, 3, step);
    return dot_31((a & EACH(15)) | bits_to_bytes(high) << 4,
                  (b & EACH(15)) | bits_to_bytes(high >> 8) << 4, x) +
           dot_31((a >> 4 & EACH(15)) | bits_to_bytes(high >> 16) << 4,
                  (b >> 4 & EACH(15)) | bits_to_bytes(high >> 24) << 4, x + 4);
}
ALWAYS_INLINE int32_t dot_q5_0(const uint8_t *p, const int step, const uint64_t *x, int32_t sum)
{
    return dot_q5_1(p, step, x, sum) - 16 * sum;
}

// Where a row's heads and dwords begin, and how far it is to its next head, to the next block's.
struct place {
    const uint8_t *heads, *dwords;
    size_t head_step, block_heads, block_dwords;
};

// Of the first row at w; packed: the beginning of a strip.
static struct place first_place(uint32_t type, const uint8_t *w, size_t k, bool packed)
{
    const struct tn_packed_layout *l = tn_packed_layout(type);
    const struct tn_type_info *info = tn_type_info(type);
    if (!packed) {
        return (struct place){w + l->head_at, w + l->dwords_at, l->head_size, info->block_bytes,
                              info->block_bytes};
    }
    size_t dword_bytes = l->dwords * 64u;
    return (struct place){w + k / info->block_values * dword_bytes, w, TN_STRIP_ROWS * 2u,
                          l->head_bytes, dword_bytes};
}

// Of row r. Heads are two bytes.
ALWAYS_INLINE struct place place_of(const struct place *first, size_t row_bytes, size_t r,
                                    const bool packed)
{
    struct place p = *first;
    size_t lane = packed ? r % TN_STRIP_ROWS : 0, begins = (r - lane) * row_bytes;
    p.heads += begins + lane * 2;
    p.dwords += begins + lane * 4;
    return p;
}

#define DEFINE_PRODUCT_32(NAME, FUNCTION, TYPE, PACKED, MINIMA)                                    \
    static void FUNCTION(const uint8_t *w, size_t row_bytes, size_t rows,                          \
                         const struct tn_columns *x, size_t columns, float *out,                   \
                         size_t out_stride)                                                        \
    {                                                                                              \
        const struct place first = first_place(TYPE, w, x->k, PACKED);                             \
        for (size_t c = 0; c < columns; c++) {                                                     \
            struct tn_columns column = tn_columns_skip(x, c);                                      \
            for (size_t r = 0; r < rows; r++) {                                                    \
                struct place p = place_of(&first, row_bytes, r, PACKED);                           \
                const uint64_t *words = (const uint64_t *)(const void *)column.arranged;           \
                float total = 0;                                                                   \
                for (size_t b = 0; b < x->k / 32; b++, words += 8) {                               \
                    int32_t dot = dot_##NAME(p.dwords, PACKED ? 64 : 4, words, column.sums[b]);    \
                    float dx = column.scales[b];                                                   \
                    total += tn_f16_to_f32(load_u16(p.heads)) * dx * to_float(dot);                \
                    if (MINIMA) {                                                                  \
                        float m = tn_f16_to_f32(load_u16(p.heads + p.head_step));                  \
                        total += m * (dx * to_float(column.sums[b]));                              \
                    }                                                                              \
                    p.heads += p.block_heads;                                                      \
                    p.dwords += p.block_dwords;                                                    \
                }                                                                                  \
                out[c * out_stride + r] = total;                                                   \
            }                                                                                      \
        }                                                                                          \
    }
#define DEFINE_PRODUCTS_32(NAME, TYPE, MINIMA)                                                     \
    DEFINE_PRODUCT_32(NAME, rows_##NAME, TYPE, false, MINIMA)                                      \
    DEFINE_PRODUCT_32(NAME, packed_##NAME, TYPE, true, MINIMA)

DEFINE_PRODUCTS_32(q8_0, TN_Q8_0, false)
DEFINE_PRODUCTS_32(q4_0, TN_Q4_0, false)
DEFINE_PRODUCTS_32(q4_1, TN_Q4_1, true)
DEFINE_PRODUCTS_32(q5_0, TN_Q5_0, false)
DEFINE_PRODUCTS_32(q5_1, TN_Q5_1, true)

// ---- blocks of 256 -----------------------------------------------------------------------------

// What a super-block and a column's block give: products with factors, and with minima.
struct sums {
    int32_t scaled, minima;
};

// Q4_K and (fifth: dwords of high bits in between) Q5_K.
ALWAYS_INLINE struct sums dot_q45_k(const uint8_t *p, const int step, const bool fifth,
                                    const uint64_t *x, const int32_t *sums)
{
    struct sums s = {0, 0};
    uint8_t packed_scales[12], scale[8], minimum[8];
    for (int i = 0; i < 3; i++) {
        memcpy(packed_scales + 4 * i, p + i * step, 4);
    }
    tn_six_bit_scales(packed_scales, scale, minimum);
    const uint8_t *q = p + (fifth ? 11 : 3) * step, *high = p + 3 * step;
    for (int g = 0; g < 4; g++, q += 8 * step, x += 16) {
        int32_t low = 0, up = 0;
        for (int i = 0; i < 8; i += 4) {
            uint64_t a = eight(q, i, step), b = eight(q, i + 2, step);
            const uint64_t *v = x + i;
            if (fifth) {
                uint64_t h0 = eight(high, i, step) >> 2 * g, h1 = eight(high, i + 2, step) >> 2 * g;
                low += dot_31((a & EACH(15)) | (h0 & EACH(1)) << 4,
                              (b & EACH(15)) | (h1 & EACH(1)) << 4, v);
                up += dot_31((a >> 4 & EACH(15)) | (h0 & EACH(2)) << 3,
                             (b >> 4 & EACH(15)) | (h1 & EACH(2)) << 3, v + 8);
            } else {
                low += dot_15(a & EACH(15), b & EACH(15), v);
                up += dot_15(a >> 4 & EACH(15), b >> 4 & EACH(15), v + 8);
            }
        }
        s.scaled += scale[2 * g] * low + scale[2 * g + 1] * up;
        s.minima += minimum[2 * g] * (sums[4 * g] + sums[4 * g + 1]) +
                    minimum[2 * g + 1] * (sums[4 * g + 2] + sums[4 * g + 3]);
    }
    return s;
}
ALWAYS_INLINE struct sums dot_q4_k(const uint8_t *p, const int step, const uint64_t *x,
                                   const int32_t *sums)
{
    return dot_q45_k(p, step, false, x, sums);
}
ALWAYS_INLINE struct sums dot_q5_k(const uint8_t *p, const int step, const uint64_t *x,
                                   const int32_t *sums)
{
    return dot_q45_k(p, step, true, x, sums);
}

// Byte j of the dwords at p.
ALWAYS_INLINE uint8_t byte_at(const uint8_t *p, int j, const int step)
{
    return p[j / 4 * step + j % 4];
}

ALWAYS_INLINE struct sums dot_q6_k(const uint8_t *p, const int step, const uint64_t *x,
                                   const int32_t *sums)
{
    int32_t scaled = 0;
    for (int j = 0; j < 16; j++) { // runs of 16: half, quarter of it, half of that
        int half = j / 8, quarter = j / 2 % 4, at = j % 2 * 4;
        const uint8_t *low = p + (16 * half + quarter % 2 * 8 + at) * step;
        const uint8_t *high = p + (32 + 8 * half + at) * step;
        int shift = quarter / 2 * 4;
        uint64_t a = (eight(low, 0, step) >> shift & EACH(15)) |
                     (eight(high, 0, step) >> 2 * quarter & EACH(3)) << 4;
        uint64_t b = (eight(low, 2, step) >> shift & EACH(15)) |
                     (eight(high, 2, step) >> 2 * quarter & EACH(3)) << 4;
        int8_t scale = (int8_t)byte_at(p + 48 * step, j, step);
        scaled += scale * (dot_63(a, b, x + 4 * j) - 32 * sums[j]);
    }
    return (struct sums){scaled, 0};
}

ALWAYS_INLINE struct sums dot_q2_k(const uint8_t *p, const int step, const uint64_t *x,
                                   const int32_t *sums)
{
    struct sums s = {0, 0};
    for (int j = 0; j < 16; j++) {
        const uint8_t *q = p + (4 + 8 * (j / 8) + j % 2 * 4) * step;
        int shift = j / 2 % 4 * 2;
        uint8_t scale = byte_at(p, j, step);
        s.scaled += (scale & 15) * dot_15(eight(q, 0, step) >> shift & EACH(3),
                                          eight(q, 2, step) >> shift & EACH(3), x + 4 * j);
        s.minima += (scale >> 4) * sums[j];
    }
    return s;
}

ALWAYS_INLINE struct sums dot_q3_k(const uint8_t *p, const int step, const uint64_t *x,
                                   const int32_t *sums)
{
    int32_t scaled = 0;
    const uint8_t *scales = p + 24 * step;
    for (int j = 0; j < 16; j++) {
        const uint8_t *q = p + (8 + 8 * (j / 8) + j % 2 * 4) * step;
        const uint8_t *high = p + j % 2 * 4 * step;
        int shift = j / 2 % 4 * 2, bit = j / 2;
        uint64_t a =
            (eight(q, 0, step) >> shift & EACH(3)) | (eight(high, 0, step) >> bit & EACH(1)) << 2;
        uint64_t b =
            (eight(q, 2, step) >> shift & EACH(3)) | (eight(high, 2, step) >> bit & EACH(1)) << 2;
        int low = byte_at(scales, j % 8, step) >> (j < 8 ? 0 : 4) & 15;
        int up = byte_at(scales, 8 + j % 4, step) >> j / 4 * 2 & 3;
        scaled += ((low | up << 4) - 32) * (dot_15(a, b, x + 4 * j) - 4 * sums[j]);
    }
    return (struct sums){scaled, 0};
}

#define DEFINE_PRODUCT_256(NAME, FUNCTION, TYPE, PACKED, MINIMA)                                   \
    static void FUNCTION(const uint8_t *w, size_t row_bytes, size_t rows,                          \
                         const struct tn_columns *x, size_t columns, float *out,                   \
                         size_t out_stride)                                                        \
    {                                                                                              \
        const struct place first = first_place(TYPE, w, x->k, PACKED);                             \
        for (size_t c = 0; c < columns; c++) {                                                     \
            struct tn_columns column = tn_columns_skip(x, c);                                      \
            for (size_t r = 0; r < rows; r++) {                                                    \
                struct place p = place_of(&first, row_bytes, r, PACKED);                           \
                const uint64_t *words = (const uint64_t *)(const void *)column.arranged;           \
                float total = 0;                                                                   \
                for (size_t b = 0; b < x->k / 256; b++, words += 64) {                             \
                    struct sums s =                                                                \
                        dot_##NAME(p.dwords, PACKED ? 64 : 4, words, column.sums + 16 * b);        \
                    float dx = column.scales[b];                                                   \
                    total += tn_f16_to_f32(load_u16(p.heads)) * dx * (float)s.scaled;              \
                    if (MINIMA) {                                                                  \
                        float m = tn_f16_to_f32(load_u16(p.heads + p.head_step));                  \
                        total += -(m * dx) * (float)s.minima;                                      \
                    }                                                                              \
                    p.heads += p.block_heads;                                                      \
                    p.dwords += p.block_dwords;                                                    \
                }                                                                                  \
                out[c * out_stride + r] = total;                                                   \
            }                                                                                      \
        }                                                                                          \
    }
#define DEFINE_PRODUCTS_256(NAME, TYPE, MINIMA)                                                    \
    DEFINE_PRODUCT_256(NAME, rows_##NAME, TYPE, false, MINIMA)                                     \
    DEFINE_PRODUCT_256(NAME, packed_##NAME, TYPE, true, MINIMA)

DEFINE_PRODUCTS_256(q4_k, TN_Q4_K, true)
DEFINE_PRODUCTS_256(q5_k, TN_Q5_K, true)
DEFINE_PRODUCTS_256(q6_k, TN_Q6_K, false)
DEFINE_PRODUCTS_256(q2_k, TN_Q2_K, true)
DEFINE_PRODUCTS_256(q3_k, TN_Q3_K, false)

// ---- types with a codebook ---------------------------------------------------------------------

// Block by block through the plain row product's arithmetic.
static float add_decoded(uint32_t type, const struct tn_decoded *w, const struct tn_columns *x,
                         size_t b, float total)
{
    const size_t values = tn_type_info(type)->block_values, run = values == 32 ? 32 : 16;
    const int8_t *v = x->values + b * values;
    int32_t scaled = 0;
    for (size_t j = 0; j < values / run; j++) {
        int32_t dot = 0;
        for (size_t i = run * j; i < run * j + run; i++) {
            dot += w->q[i] * v[i];
        }
        scaled += values == 32 ? dot : w->scale[j] * dot;
    }
    return total + w->d * x->scales[b] * (float)scaled;
}

static void packed_by_codebook(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                               const struct tn_columns *x, size_t columns, float *out,
                               size_t out_stride)
{
    const struct tn_type_info *info = tn_type_info(type);
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *strip = w + r / TN_STRIP_ROWS * TN_STRIP_ROWS * row_bytes;
        for (size_t c = 0; c < columns; c++) {
            out[c * out_stride + r] = 0;
        }
        for (size_t b = 0; b < x->k / info->block_values; b++) {
            uint8_t block[256];
            struct tn_decoded decoded;
            tn_unpack_block(type, strip, r % TN_STRIP_ROWS, x->k, b, block);
            tn_decode_block(type, block, &decoded);
            for (size_t c = 0; c < columns; c++) {
                struct tn_columns column = tn_columns_skip(x, c);
                float *o = &out[c * out_stride + r];
                *o = add_decoded(type, &decoded, &column, b, *o);
            }
        }
    }
}

#define DEFINE_PACKED(NAME, TYPE)                                                                  \
    static void packed_##NAME(const uint8_t *w, size_t row_bytes, size_t rows,                     \
                              const struct tn_columns *x, size_t columns, float *out,              \
                              size_t out_stride)                                                   \
    {                                                                                              \
        packed_by_codebook(TYPE, w, row_bytes, rows, x, columns, out, out_stride);                 \
    }
DEFINE_PACKED(iq4_nl, TN_IQ4_NL)
DEFINE_PACKED(mxfp4, TN_MXFP4)
DEFINE_PACKED(iq4_xs, TN_IQ4_XS)

tn_row_product *const tn_gemv_scalar[TN_TYPE_LIMIT] = {
    [TN_Q8_0] = rows_q8_0, [TN_Q4_0] = rows_q4_0, [TN_Q4_1] = rows_q4_1, [TN_Q5_0] = rows_q5_0,
    [TN_Q5_1] = rows_q5_1, [TN_Q2_K] = rows_q2_k, [TN_Q3_K] = rows_q3_k, [TN_Q4_K] = rows_q4_k,
    [TN_Q5_K] = rows_q5_k, [TN_Q6_K] = rows_q6_k,
};
tn_row_product *const tn_packed_scalar[TN_TYPE_LIMIT] = {
    [TN_Q8_0] = packed_q8_0,     [TN_Q4_0] = packed_q4_0, [TN_Q4_1] = packed_q4_1,
    [TN_Q5_0] = packed_q5_0,     [TN_Q5_1] = packed_q5_1, [TN_IQ4_NL] = packed_iq4_nl,
    [TN_MXFP4] = packed_mxfp4,   [TN_Q2_K] = packed_q2_k, [TN_Q3_K] = packed_q3_k,
    [TN_Q4_K] = packed_q4_k,     [TN_Q5_K] = packed_q5_k, [TN_Q6_K] = packed_q6_k,
    [TN_IQ4_XS] = packed_iq4_xs,
};
