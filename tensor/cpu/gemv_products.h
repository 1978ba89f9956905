// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The products of one ISA level, written once over lanes: include after a gemv_lanes_*.h. Bits as
// the numerical contract says (columns.h, reference_product.h): sums within blocks are exact
// integers, blocks are added in ascending order by one fused chain a row and column.
#ifndef TENSOR_CPU_GEMV_PRODUCTS_H
#define TENSOR_CPU_GEMV_PRODUCTS_H

#include "tensor/cpu/decode.h"
#include "tensor/cpu/gemv_turn.h"
#include "tensor/cpu/gemv_unpack.h"
#include "tensor/cpu/packed.h"

enum {
    MOST_COLUMNS = 8, // that one unpacking serves
    MOST_HEADS = 512, // bytes of heads of a chunk
    MOST_DWORDS = 64  // of a chunk
};

// What the products of a type are made of.
struct strip_type {
    uint32_t type;
    // `count` blocks of sixteen rows, turned: block + offset[r] is where row r's begin.
    void (*turn)(const uint8_t *block, const int32_t *offset, size_t count, uint8_t *heads,
                 uint8_t *dwords);
    // `count` turned blocks to a chunk; heads and dwords as in packed.h.
    // As much is prefetched at `ahead`.
    void (*unpack)(const uint8_t *heads, const uint8_t *dwords, const uint8_t *ahead, size_t count,
                   struct tn_chunk *c);
    // acc[column][16 rows] += the chunk's blocks times blocks `from` on of so many columns.
    void (*add)(const uint8_t *values, const struct tn_chunk *chunk, size_t count,
                const struct tn_columns *x, size_t columns, size_t from, float (*acc)[16]);
    // The same with a single column from turned blocks, without a stop in a chunk; NULL: none.
    void (*add_single)(const uint8_t *heads, const uint8_t *dwords, const uint8_t *ahead,
                       size_t count, const struct tn_columns *x, size_t from, float *acc);
    void (*add_single_rows)(const uint8_t *block, const int32_t *offset, const uint8_t *ahead,
                            size_t count, const struct tn_columns *x, size_t from, float *acc);
    bool values_are_dwords; // nothing to unpack
};

// ---- columns -----------------------------------------------------------------------------------

// The 64-byte lines of so many bytes: little by little, as many at once would wait for room.
ALWAYS_INLINE void prefetch(const uint8_t *p, const int bytes)
{
    for (int i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)(p + i), PREFETCH_HINT);
    }
}

ALWAYS_INLINE void add_blocks_32(const int C, const int most, const int zero, const bool minima,
                                 const uint8_t *values, const float *scale, const float *minimum,
                                 size_t count, const struct tn_columns *x, size_t column,
                                 size_t from, const uint8_t *ahead, const int bytes, float *acc)
{
    const size_t k = x->k, blocks = k / 32;
    const float *dx = x->scales + column * blocks + from;
    const int32_t *sums = x->sums + column * blocks + from;
    const int8_t *v = x->values + column * k + from * 32;
    vf total[8];
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
        total[c] = f_load(acc + 16 * c);
    }
    for (size_t b = 0; b < count; b++) {
        vi sum[8];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            sum[c] = zero ? i_set(-zero * sums[(size_t)c * blocks + b]) : i_zero();
        }
        prefetch(ahead + 16 * b * (size_t)bytes, 16 * bytes);
        add_products(C, 8, most, values + 512 * b, v + 32 * b, k, sum);
        vf d = f_load(scale + 16 * b);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            float s = dx[(size_t)c * blocks + b];
            total[c] = f_fma(f_mul(d, f_set(s)), f_from(sum[c]), total[c]);
            if (minima) {
                float offset = s * (float)sums[(size_t)c * blocks + b];
                total[c] = f_fma(f_load(minimum + 16 * b), f_set(offset), total[c]);
            }
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
        f_store(acc + 16 * c, total[c]);
    }
}

// acc + a super-block: `total` of the products with factors, `offset` of factors or minima with the
// column's sums.
ALWAYS_INLINE vf add_super_block(const int zero, const bool minima, vi total, vi offset, vf d,
                                 const float *minimum, float dx, vf acc)
{
    vf s = f_set(dx);
    if (zero) {
        total = i_sub(total, i_mul(offset, i_set(zero)));
    }
    acc = f_fma(f_mul(d, s), f_from(total), acc);
    if (minima) {
        acc = f_minus_product(f_mul(f_load(minimum), s), f_from(offset), acc);
    }
    return acc;
}

// One super-block of `parts` parts, each with an integer factor.
ALWAYS_INLINE void add_block_256(const int C, const int most, const int zero, const bool minima,
                                 const int parts, const uint8_t *values, const float *scale,
                                 const float *minimum, const int32_t *factor, const int32_t *pairs,
                                 const struct tn_columns *x, size_t column, size_t from,
                                 const uint8_t *ahead, const int bytes, float *acc)
{
    const size_t k = x->k, blocks = k / 256;
    const float *dx = x->scales + column * blocks + from;
    const int32_t *sums = x->sums + (column * blocks + from) * 16;
    const int8_t *v = x->values + column * k + from * 256;
    vi total[8], offset[8];
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
        total[c] = i_zero();
    }
    for (int j = 0; j < parts; j++) {
        vi sum[8], f = i_load(factor + 16 * j);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            sum[c] = i_zero();
        }
        prefetch(ahead + 16 * bytes / parts * j, 16 * bytes / parts);
        add_products(C, 64 / parts, most, values + 64 * (64 / parts) * j, v + 256 / parts * j, k,
                     sum);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            total[c] = i_add(total[c], i_mul(f, sum[c]));
        }
    }
    if (zero || minima) { // factors or minima times the column's sums
        int32_t sum_pairs[8][8];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            pack_sums(sums + (size_t)c * blocks * 16, sum_pairs[c]);
            offset[c] = i_zero();
        }
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            vi p = i_load(pairs + 16 * j);
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) {
                offset[c] = i_add_pairs(offset[c], p, i_set(sum_pairs[c][j]));
            }
        }
    }
    vf d = f_load(scale);
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
        f_store(acc + 16 * c, add_super_block(zero, minima, total[c], offset[c], d, minimum,
                                              dx[(size_t)c * blocks], f_load(acc + 16 * c)));
    }
}

// ---- rows and strips ---------------------------------------------------------------------------

// What is needed next is asked for early: the rows of a strip lie one after the other, so the next
// strip's are as far on as this one's are long. That is a straight stream, which also crosses
// pages, where the processor's own prefetching ends.

// Sixteen results of each column to where they belong; the strip has `rows` of them.
static void put_results(float (*acc)[16], size_t columns, size_t rows, float *out,
                        size_t out_stride)
{
    size_t count = rows < TN_STRIP_ROWS ? rows : TN_STRIP_ROWS;
    for (size_t c = 0; c < columns; c++) {
        memcpy(out + c * out_stride, acc[c], count * sizeof *out);
    }
}

static void multiply_rows(const struct strip_type *t, const uint8_t *w, size_t row_bytes,
                          size_t rows, const struct tn_columns *x, size_t columns, float *out,
                          size_t out_stride)
{
    const struct tn_type_info *info = tn_type_info(t->type);
    const size_t blocks = x->k / info->block_values, most = TN_CHUNK / info->block_values;
    struct tn_chunk chunk;
    _Alignas(64) uint8_t heads[MOST_HEADS], dwords[MOST_DWORDS * 64];
    for (size_t r = 0; r < rows; r += TN_STRIP_ROWS, w += TN_STRIP_ROWS * row_bytes) {
        int32_t offset[TN_STRIP_ROWS]; // rows that are not there: the first once more
        for (size_t i = 0; i < TN_STRIP_ROWS; i++) {
            offset[i] = r + i < rows ? (int32_t)(i * row_bytes) : 0;
        }
        for (size_t first = 0; first < columns; first += MOST_COLUMNS) {
            size_t width = columns - first < MOST_COLUMNS ? columns - first : MOST_COLUMNS;
            struct tn_columns group = tn_columns_skip(x, first);
            _Alignas(64) float acc[MOST_COLUMNS][16] = {{0}};
            for (size_t b = 0; b < blocks; b += most) {
                size_t count = blocks - b < most ? blocks - b : most;
                const uint8_t *ahead = w + TN_STRIP_ROWS * (row_bytes + b * info->block_bytes);
                const uint8_t *block = w + b * info->block_bytes;
                if (width == 1 && t->add_single_rows) {
                    t->add_single_rows(block, offset, ahead, count, &group, b, acc[0]);
                    continue;
                }
                t->turn(block, offset, count, heads, dwords);
                t->unpack(heads, dwords, ahead, count, &chunk);
                t->add(t->values_are_dwords ? dwords : chunk.values[0], &chunk, count, &group,
                       width, b, acc);
            }
            put_results(acc, width, rows - r, out + first * out_stride + r, out_stride);
        }
    }
}

static void multiply_packed(const struct strip_type *t, const uint8_t *w, size_t row_bytes,
                            size_t rows, const struct tn_columns *x, size_t columns, float *out,
                            size_t out_stride)
{
    const struct tn_packed_layout *layout = tn_packed_layout(t->type);
    const struct tn_type_info *info = tn_type_info(t->type);
    const size_t blocks = x->k / info->block_values, most = TN_CHUNK / info->block_values;
    const size_t dword_bytes = layout->dwords * 64u;
    struct tn_chunk chunk;
    for (size_t r = 0; r < rows; r += TN_STRIP_ROWS, w += TN_STRIP_ROWS * row_bytes) {
        const uint8_t *heads = w + blocks * dword_bytes;
        for (size_t first = 0; first < columns; first += MOST_COLUMNS) {
            size_t width = columns - first < MOST_COLUMNS ? columns - first : MOST_COLUMNS;
            struct tn_columns group = tn_columns_skip(x, first);
            _Alignas(64) float acc[MOST_COLUMNS][16] = {{0}};
            for (size_t b = 0; b < blocks; b += most) {
                size_t count = blocks - b < most ? blocks - b : most;
                const uint8_t *dwords = w + b * dword_bytes;
                const uint8_t *ahead = w + TN_STRIP_ROWS * (row_bytes + b * info->block_bytes);
                if (width == 1 && t->add_single) {
                    t->add_single(heads + b * layout->head_bytes, dwords, ahead, count, &group, b,
                                  acc[0]);
                    continue;
                }
                t->unpack(heads + b * layout->head_bytes, dwords, ahead, count, &chunk);
                t->add(t->values_are_dwords ? dwords : chunk.values[0], &chunk, count, &group,
                       width, b, acc);
            }
            put_results(acc, width, rows - r, out + first * out_stride + r, out_stride);
        }
    }
}

// ---- types -------------------------------------------------------------------------------------

// A block of 32 or 256 with one column, multiplied while it is unpacked.
ALWAYS_INLINE void finish_BLOCKS_32(const int zero, const bool minima, const int parts,
                                    const struct lanes_chunk *c, const struct tn_columns *x,
                                    size_t block, float *acc)
{
    (void)parts;
    int32_t sum = x->sums[block];
    float dx = x->scales[block];
    vi dot = i_add(c->sum[0], c->sum[1]);
    if (zero) {
        dot = i_sub(dot, i_set(zero * sum));
    }
    vf total = f_fma(f_mul(f_load(c->scale), f_set(dx)), f_from(dot), f_load(acc));
    if (minima) {
        total = f_fma(f_load(c->minimum), f_set(dx * (float)sum), total);
    }
    f_store(acc, total);
}
ALWAYS_INLINE void finish_BLOCKS_256(const int zero, const bool minima, const int parts,
                                     const struct lanes_chunk *c, const struct tn_columns *x,
                                     size_t block, float *acc)
{
    int32_t sum_pairs[8];
    vi total = i_zero(), offset = i_zero();
#pragma GCC unroll 16
    for (int j = 0; j < parts; j++) {
        total = i_add(total, i_mul(i_load(c->factor + 16 * j), c->sum[j]));
    }
    pack_sums(x->sums + 16 * block, sum_pairs);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        offset = i_add_pairs(offset, i_load(c->pairs + 16 * j), i_set(sum_pairs[j]));
    }
    f_store(acc, add_super_block(zero, minima, total, offset, f_load(c->scale), c->minimum,
                                 x->scales[block], f_load(acc)));
}

#if SINGLE
#define SINGLE_OF(NAME)      single_##NAME
#define SINGLE_ROWS_OF(NAME) single_rows_##NAME
// Blocks of 32 have two sums, only to shorten the chain of additions.
#define DEFINE_SINGLE(NAME, HEAD_BYTES, DWORDS, BLOCK_BYTES, BLOCKS, ZERO, MINIMA, PARTS)          \
    ALWAYS_INLINE void single_block_##NAME(const uint8_t *heads, const uint8_t *dwords,            \
                                           const uint8_t *ahead, const struct tn_columns *x,       \
                                           size_t block, float *acc)                               \
    {                                                                                              \
        _Alignas(64) float scale[16], minimum[16];                                                 \
        _Alignas(64) int32_t factor[16 * 16], pairs[8 * 16];                                       \
        struct lanes_chunk part = {.scale = scale,                                                 \
                                   .minimum = minimum,                                             \
                                   .factor = factor,                                               \
                                   .pairs = pairs,                                                 \
                                   .ahead = ahead,                                                 \
                                   .ahead_bytes = 16 * (BLOCK_BYTES),                              \
                                   .single = true,                                                 \
                                   .x = x->values + block * (PARTS ? 256 : 32),                    \
                                   .per = PARTS ? 64 / (PARTS ? PARTS : 1) : 4};                   \
        unpack_##NAME(heads, dwords, 0, &part);                                                    \
        finish_##BLOCKS(ZERO, MINIMA, PARTS, &part, x, block, acc);                                \
    }                                                                                              \
    static void single_##NAME(const uint8_t *heads, const uint8_t *dwords, const uint8_t *ahead,   \
                              size_t count, const struct tn_columns *x, size_t from, float *acc)   \
    {                                                                                              \
        for (size_t b = 0; b < count; b++) {                                                       \
            single_block_##NAME(heads + b * (HEAD_BYTES), dwords + b * (DWORDS)*64,                \
                                ahead + b * 16 * (BLOCK_BYTES), x, from + b, acc);                 \
        }                                                                                          \
    }                                                                                              \
    static void single_rows_##NAME(const uint8_t *block, const int32_t *offset,                    \
                                   const uint8_t *ahead, size_t count, const struct tn_columns *x, \
                                   size_t from, float *acc)                                        \
    {                                                                                              \
        for (size_t b = 0; b < count; b++) {                                                       \
            _Alignas(64) uint8_t heads[HEAD_BYTES], dwords[(DWORDS)*64];                           \
            turn_##NAME(block + b * (BLOCK_BYTES), offset, heads, dwords);                         \
            single_block_##NAME(heads, dwords, ahead + b * 16 * (BLOCK_BYTES), x, from + b, acc);  \
        }                                                                                          \
    }
#else
#define SINGLE_OF(NAME)      NULL
#define SINGLE_ROWS_OF(NAME) NULL
#define DEFINE_SINGLE(NAME, HEAD_BYTES, DWORDS, BLOCK_BYTES, BLOCKS, ZERO, MINIMA, PARTS)
#endif

#define BLOCKS_32(C, most, zero, minima, parts, bytes)                                             \
    add_blocks_32(C, most, zero, minima, values + 4 * l, chunk->scale[0] + l,                      \
                  chunk->minimum[0] + l, count, x, c, from, chunk->ahead, bytes, acc[c] + l)
#define BLOCKS_256(C, most, zero, minima, parts, bytes)                                            \
    add_block_256(C, most, zero, minima, parts, values + 4 * l, chunk->scale[0] + l,               \
                  chunk->minimum[0] + l, chunk->factor[0] + l, chunk->pairs[0] + l, x, c, from,    \
                  chunk->ahead, bytes, acc[c] + l)

#define DEFINE_STRIP(NAME, TYPE, HEAD_BYTES, HEAD_LANE, DWORDS, BLOCK_BYTES, BLOCKS, MOST, ZERO,   \
                     MINIMA, PARTS, AS_IS)                                                         \
    static void turn_all_##NAME(const uint8_t *block, const int32_t *offset, size_t count,         \
                                uint8_t *heads, uint8_t *dwords)                                   \
    {                                                                                              \
        for (size_t b = 0; b < count; b++) {                                                       \
            turn_##NAME(block + b * (BLOCK_BYTES), offset, heads + b * (HEAD_BYTES),               \
                        dwords + b * (DWORDS)*64);                                                 \
        }                                                                                          \
    }                                                                                              \
    static void unpack_all_##NAME(const uint8_t *heads, const uint8_t *dwords,                     \
                                  const uint8_t *ahead, size_t count, struct tn_chunk *c)          \
    {                                                                                              \
        c->ahead = ahead;                                                                          \
        for (size_t l = 0; l < 16; l += LANES) {                                                   \
            for (size_t b = 0; b < count; b++) {                                                   \
                struct lanes_chunk part = {.values = c->values[8 * b] + 4 * l,                     \
                                           .scale = c->scale[0] + l,                               \
                                           .minimum = c->minimum[0] + l,                           \
                                           .factor = c->factor[0] + l,                             \
                                           .pairs = c->pairs[0] + l,                               \
                                           .per = 64};                                             \
                unpack_##NAME(heads + b * (HEAD_BYTES) + l * (HEAD_LANE),                          \
                              dwords + b * (DWORDS)*64 + 4 * l, b, &part);                         \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void add_##NAME(const uint8_t *values, const struct tn_chunk *chunk, size_t count,      \
                           const struct tn_columns *x, size_t columns, size_t from,                \
                           float(*acc)[16])                                                        \
    {                                                                                              \
        (void)count;                                                                               \
        for (size_t l = 0; l < 16; l += LANES) {                                                   \
            size_t c = 0;                                                                          \
            if (columns == 8 && LANES == 16) { /* they fit into the registers of AVX-512 */        \
                BLOCKS(8, MOST, ZERO, MINIMA, PARTS, BLOCK_BYTES);                                 \
                c = 8;                                                                             \
            }                                                                                      \
            for (; columns - c >= 4; c += 4) {                                                     \
                BLOCKS(4, MOST, ZERO, MINIMA, PARTS, BLOCK_BYTES);                                 \
            }                                                                                      \
            if (columns - c >= 2) {                                                                \
                BLOCKS(2, MOST, ZERO, MINIMA, PARTS, BLOCK_BYTES);                                 \
                c += 2;                                                                            \
            }                                                                                      \
            if (columns - c >= 1) {                                                                \
                BLOCKS(1, MOST, ZERO, MINIMA, PARTS, BLOCK_BYTES);                                 \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    DEFINE_SINGLE(NAME, HEAD_BYTES, DWORDS, BLOCK_BYTES, BLOCKS, ZERO, MINIMA, PARTS)              \
    static const struct strip_type strip_##NAME = {TYPE,                                           \
                                                   turn_all_##NAME,                                \
                                                   unpack_all_##NAME,                              \
                                                   add_##NAME,                                     \
                                                   SINGLE_OF(NAME),                                \
                                                   SINGLE_ROWS_OF(NAME),                           \
                                                   AS_IS};                                         \
    static void rows_##NAME(const uint8_t *w, size_t row_bytes, size_t rows,                       \
                            const struct tn_columns *x, size_t columns, float *out,                \
                            size_t out_stride)                                                     \
    {                                                                                              \
        multiply_rows(&strip_##NAME, w, row_bytes, rows, x, columns, out, out_stride);             \
    }                                                                                              \
    static void packed_##NAME(const uint8_t *w, size_t row_bytes, size_t rows,                     \
                              const struct tn_columns *x, size_t columns, float *out,              \
                              size_t out_stride)                                                   \
    {                                                                                              \
        multiply_packed(&strip_##NAME, w, row_bytes, rows, x, columns, out, out_stride);           \
    }

// Name, type; bytes of a block's heads and of one row's in them, dwords, bytes of a block in the
// file; form, greatest value, zero, minima?, parts with factors of their own, nothing to unpack?
DEFINE_STRIP(q8_0, TN_Q8_0, 32, 2, 8, 34, BLOCKS_32, 255, WIDE_ZERO, false, 0, true)
DEFINE_STRIP(q4_0, TN_Q4_0, 32, 2, 4, 18, BLOCKS_32, 15, 8, false, 0, false)
DEFINE_STRIP(q4_1, TN_Q4_1, 64, 2, 4, 20, BLOCKS_32, 15, 0, true, 0, false)
DEFINE_STRIP(q5_0, TN_Q5_0, 32, 2, 5, 22, BLOCKS_32, 31, 16, false, 0, false)
DEFINE_STRIP(q5_1, TN_Q5_1, 64, 2, 5, 24, BLOCKS_32, 31, 0, true, 0, false)
DEFINE_STRIP(iq4_nl, TN_IQ4_NL, 32, 2, 4, 18, BLOCKS_32, 255, WIDE_ZERO, false, 0, false)
DEFINE_STRIP(mxfp4, TN_MXFP4, 16, 1, 4, 17, BLOCKS_32, 24, 12, false, 0, false)
DEFINE_STRIP(q2_k, TN_Q2_K, 64, 2, 20, 84, BLOCKS_256, 3, 0, true, 16, false)
DEFINE_STRIP(q3_k, TN_Q3_K, 32, 2, 27, 110, BLOCKS_256, 7, 4, false, 16, false)
DEFINE_STRIP(q4_k, TN_Q4_K, 64, 2, 35, 144, BLOCKS_256, 15, 0, true, 8, false)
DEFINE_STRIP(q5_k, TN_Q5_K, 64, 2, 43, 176, BLOCKS_256, 31, 0, true, 8, false)
DEFINE_STRIP(q6_k, TN_Q6_K, 32, 2, 52, 210, BLOCKS_256, 63, 32, false, 16, false)
DEFINE_STRIP(iq4_xs, TN_IQ4_XS, 64, 2, 33, 136, BLOCKS_256, 255, WIDE_ZERO, false, 8, false)

#define STRIP_TABLE(PREFIX)                                                                        \
    {                                                                                              \
        [TN_Q8_0] = PREFIX##q8_0, [TN_Q4_0] = PREFIX##q4_0, [TN_Q4_1] = PREFIX##q4_1,              \
        [TN_Q5_0] = PREFIX##q5_0, [TN_Q5_1] = PREFIX##q5_1, [TN_IQ4_NL] = PREFIX##iq4_nl,          \
        [TN_MXFP4] = PREFIX##mxfp4, [TN_Q2_K] = PREFIX##q2_k, [TN_Q3_K] = PREFIX##q3_k,            \
        [TN_Q4_K] = PREFIX##q4_k, [TN_Q5_K] = PREFIX##q5_k, [TN_Q6_K] = PREFIX##q6_k,              \
        [TN_IQ4_XS] = PREFIX##iq4_xs,                                                              \
    }

#endif
