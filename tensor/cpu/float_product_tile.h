// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The float products of one level, written once over sixteen-float vectors. Include after a
// simd_*.h and a turn_*.h, with GROUP (columns of a register block), BLOCKS (sixteens of rows in
// it) and LOAD_F16 set.
//
// One column: sixteen rows by 64 bytes are turned and multiplied at once; memory is the limit.
// More: panels [k][16] of floats are made of TN_FLOAT_DEPTH values of BLOCKS sixteens, and blocks
// of BLOCKS sixteens by up to GROUP columns of outputs stay in registers over a panel's depth.
#ifndef TENSOR_CPU_FLOAT_PRODUCT_TILE_H
#define TENSOR_CPU_FLOAT_PRODUCT_TILE_H

#include "tensor/cpu/float_product.h"

#include <string.h>

#define INLINED static inline __attribute__((always_inline))
#define UNROLL  _Pragma("GCC unroll 32")

enum {
    LINE = 64,   // bytes of a row that are turned at a time
    AHEAD = 512, // bytes of a row between what is used and what is asked of memory
    DEPTH = TN_FLOAT_DEPTH,
    SHORT_DEPTH = 64,
};

INLINED size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}
INLINED size_t value_bytes(uint32_t type)
{
    return type == TN_F32 ? 4 : 2;
}

// Where the sixteen values of k = q lie among turned ones, in values.
INLINED size_t turned_at(uint32_t type, size_t q)
{
    return type == TN_F32 ? q * 16 : TURNED_HALVES_AT(q);
}

INLINED v16 load_values(uint32_t type, const void *p)
{
    if (type == TN_F32) {
        return v_load(p);
    }
    return type == TN_F16 ? LOAD_F16(p) : v_load_bf16(p);
}

// Turns sixteen rows by LINE bytes, all there.
INLINED void turn(uint32_t type, const uint8_t *w, size_t row_bytes, void *out)
{
    if (type == TN_F32) {
        turn_words(w, row_bytes, out, LINE);
    } else {
        turn_halves(w, row_bytes, out);
    }
}

// The same at the edges of a matrix: `rows` and `bytes` are there, the rest is zero.
static __attribute__((noinline)) void turn_edge(uint32_t type, const uint8_t *w, size_t row_bytes,
                                                size_t rows, size_t bytes, void *out)
{
    uint8_t edge[16 * LINE] __attribute__((aligned(64))) = {0};
    for (size_t r = 0; r < rows; r++) {
        memcpy(edge + r * LINE, w + r * row_bytes, bytes);
    }
    turn(type, edge, LINE, out);
}

// Asks memory for what sixteen rows need soon, `at` being used now, `offset` bytes into the rows.
// Past their end come `skipped` rows that are multiplied with them, then the next sixteen.
INLINED void ask_ahead(const uint8_t *at, size_t offset, size_t row_bytes, size_t skipped)
{
    at += AHEAD + (offset + AHEAD < row_bytes ? 0 : (15 + skipped) * row_bytes);
    UNROLL
    for (size_t r = 0; r < 16; r++) {
        __builtin_prefetch(at + r * row_bytes);
    }
}

// ---- one column --------------------------------------------------------------------------------

INLINED void multiply_turned(uint32_t type, const uint8_t *turned, const float *x, v16 *sum)
{
    const size_t step = LINE / value_bytes(type);
    UNROLL
    for (size_t q = 0; q < step; q++) {
        v16 w = load_values(type, turned + turned_at(type, q) * value_bytes(type));
        *sum = v_fma(w, v_set1(x[q]), *sum);
    }
}

// Up to sixteen rows times one column.
INLINED void rows_times_column(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                               const float *x, size_t k, float *out)
{
    const size_t bytes = value_bytes(type), step = LINE / bytes;
    uint8_t turned[16 * LINE] __attribute__((aligned(64)));
    size_t whole = rows == 16 ? k / step * step : 0;
    v16 sum = v_set1(0);
    for (size_t i = 0; i < whole; i += step) {
        const uint8_t *at = w + i * bytes;
        ask_ahead(at, i * bytes, row_bytes, 0);
        turn(type, at, row_bytes, turned);
        multiply_turned(type, turned, x + i, &sum);
    }
    for (size_t i = whole; i < k; i += step) {
        size_t count = least(step, k - i);
        turn_edge(type, w + i * bytes, row_bytes, rows, count * bytes, turned);
        for (size_t q = 0; q < count; q++) {
            v16 v = load_values(type, turned + turned_at(type, q) * bytes);
            sum = v_fma(v, v_set1(x[i + q]), sum);
        }
    }
    v_store_some(out, sum, rows);
}

// `sixteens` (1 or 2) packed sixteens of rows times one column.
INLINED void packed_times_column(uint32_t type, const size_t sixteens, const uint8_t *w,
                                 size_t sixteen_bytes, size_t rows, const float *x, size_t k,
                                 float *out)
{
    v16 sum[2];
    UNROLL
    for (size_t b = 0; b < sixteens; b++) {
        sum[b] = v_set1(0);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < k; i++) {
        v16 column = v_set1(x[i]);
        UNROLL
        for (size_t b = 0; b < sixteens; b++) {
            const uint8_t *at = w + b * sixteen_bytes + i * 16 * value_bytes(type);
            __builtin_prefetch(at + 4 * AHEAD);
            sum[b] = v_fma(load_values(type, at), column, sum[b]);
        }
    }
    UNROLL
    for (size_t b = 0; b < sixteens; b++) {
        v_store_some(out + b * 16, sum[b], least(16, rows - b * 16));
    }
}

INLINED void one_column(uint32_t type, bool packed, const uint8_t *w, size_t row_bytes, size_t rows,
                        const float *x, size_t k, float *out)
{
    size_t r = 0;
    for (; packed && rows - r > 16; r += least(32, rows - r)) {
        packed_times_column(type, 2, w + r * row_bytes, 16 * row_bytes, rows - r, x, k, out + r);
    }
    for (; r < rows; r += 16) {
        if (packed) {
            packed_times_column(type, 1, w + r * row_bytes, 0, rows - r, x, k, out + r);
        } else {
            rows_times_column(type, w + r * row_bytes, row_bytes, least(16, rows - r), x, k,
                              out + r);
        }
    }
}

// ---- panels ------------------------------------------------------------------------------------

// depth values from value k0 on of up to sixteen rows, as floats [depth][16]; rows that do not
// exist are zero. `ask`: memory is asked for what comes next.
INLINED void make_panel(uint32_t type, bool packed, bool ask, const uint8_t *w, size_t row_bytes,
                        size_t rows, size_t k0, size_t depth, float *panel)
{
    const size_t bytes = value_bytes(type), step = LINE / bytes;
    if (packed) {
        for (size_t i = 0; i < depth; i++) {
            const uint8_t *at = w + (k0 + i) * 16 * bytes;
            __builtin_prefetch(at + 4 * AHEAD);
            v_store(panel + i * 16, load_values(type, at));
        }
        return;
    }
    for (size_t i = 0; i < depth; i += step) {
        size_t count = least(step, depth - i);
        const uint8_t *at = w + (k0 + i) * bytes;
        uint8_t turned[16 * LINE] __attribute__((aligned(64)));
        if (rows == 16 && count == step) {
            if (ask) {
                ask_ahead(at, (k0 + i) * bytes, row_bytes, (BLOCKS - 1) * 16);
            }
            turn(type, at, row_bytes, turned);
        } else {
            turn_edge(type, at, row_bytes, rows, count * bytes, turned);
        }
        UNROLL
        for (size_t q = 0; q < step; q++) {
            v_store(panel + (i + q) * 16, load_values(type, turned + turned_at(type, q) * bytes));
        }
    }
}

#define DEFINE_PANEL(NAME, TYPE)                                                                   \
    static void panel_of_##NAME(bool packed, bool ask, const uint8_t *w, size_t row_bytes,         \
                                size_t rows, size_t k0, size_t depth, float *panel)                \
    {                                                                                              \
        make_panel(TYPE, packed, ask, w, row_bytes, rows, k0, depth, panel);                       \
    }                                                                                              \
    static void column_of_##NAME(bool packed, const uint8_t *w, size_t row_bytes, size_t rows,     \
                                 const float *x, size_t k, float *out)                             \
    {                                                                                              \
        one_column(TYPE, packed, w, row_bytes, rows, x, k, out);                                   \
    }
DEFINE_PANEL(f32, TN_F32)
DEFINE_PANEL(f16, TN_F16)
DEFINE_PANEL(bf16, TN_BF16)

// ---- blocks of outputs -------------------------------------------------------------------------

// What a block multiplies, and where it puts it.
struct block {
    const float *panel; // the first sixteen's; the next one's is panel_step floats on
    size_t panel_step;
    const float *x;
    size_t x_step; // from column to column, if not arranged
    size_t depth;
    float *out;
    size_t out_stride, rows;
    bool first; // begin at 0, not at what is in out
};

// B sixteens of rows by C columns (constants after inlining).
INLINED void multiply_block(const size_t B, const size_t C, const bool arranged,
                            const struct block *t)
{
    v16 sum[BLOCKS][GROUP], w[BLOCKS];
    const float *panel = t->panel, *x = t->x;
    const size_t panel_step = t->panel_step, x_step = t->x_step;
    UNROLL
    for (size_t c = 0; c < C; c++) {
        UNROLL
        for (size_t b = 0; b < B; b++) {
            const float *out = t->out + c * t->out_stride + b * 16;
            size_t n = t->rows - b * 16;
            sum[b][c] = t->first ? v_set1(0) : n >= 16 ? v_load(out) : v_load_some(out, n);
        }
    }
    for (size_t i = 0; i < t->depth; i++) {
        UNROLL
        for (size_t b = 0; b < B; b++) {
            w[b] = v_load(panel + b * panel_step);
        }
        if (arranged) { // comes from the second-level cache; the panel is in the first
            __builtin_prefetch(x + 24 * C);
        }
        UNROLL
        for (size_t c = 0; c < C; c++) {
            v16 column = v_set1(x[arranged ? c : c * x_step]);
            UNROLL
            for (size_t b = 0; b < B; b++) {
                sum[b][c] = v_fma(w[b], column, sum[b][c]);
            }
        }
        panel += 16;
        x += arranged ? C : 1;
    }
    UNROLL
    for (size_t c = 0; c < C; c++) {
        UNROLL
        for (size_t b = 0; b < B; b++) {
            float *out = t->out + c * t->out_stride + b * 16;
            size_t n = t->rows - b * 16;
            if (n >= 16) {
                v_store(out, sum[b][c]);
            } else {
                v_store_some(out, sum[b][c], n);
            }
        }
    }
}

#define DEFINE_BLOCK(B, C)                                                                         \
    static void block_##B##_##C(const struct block *t)                                             \
    {                                                                                              \
        multiply_block(B, C, false, t);                                                            \
    }                                                                                              \
    static void arranged_##B##_##C(const struct block *t)                                          \
    {                                                                                              \
        multiply_block(B, C, true, t);                                                             \
    }
#if GROUP == 2
#define EACH_WIDTH(X, B) X(B, 1) X(B, 2)
#elif GROUP == 6
#define EACH_WIDTH(X, B) X(B, 1) X(B, 2) X(B, 3) X(B, 4) X(B, 5) X(B, 6)
#elif GROUP == 12
#define EACH_WIDTH(X, B)                                                                           \
    X(B, 1)                                                                                        \
    X(B, 2) X(B, 3) X(B, 4) X(B, 5) X(B, 6) X(B, 7) X(B, 8) X(B, 9) X(B, 10) X(B, 11) X(B, 12)
#endif
#define NAME_BLOCK(B, C)    block_##B##_##C,
#define NAME_ARRANGED(B, C) arranged_##B##_##C,

typedef void block_fn(const struct block *t);
EACH_WIDTH(DEFINE_BLOCK, 1)
#if BLOCKS == 2
EACH_WIDTH(DEFINE_BLOCK, 2)
#endif
// [arranged][sixteens - 1][columns - 1]
static block_fn *const blocks[2][BLOCKS][GROUP] = {{{EACH_WIDTH(NAME_BLOCK, 1)},
#if BLOCKS == 2
                                                    {EACH_WIDTH(NAME_BLOCK, 2)}
#endif
                                                   },
                                                   {{EACH_WIDTH(NAME_ARRANGED, 1)},
#if BLOCKS == 2
                                                    {EACH_WIDTH(NAME_ARRANGED, 2)}
#endif
                                                   }};

// ---- products ----------------------------------------------------------------------------------

static void arrange(const struct tn_float_columns *x, size_t index, float *arranged)
{
    size_t groups = (x->columns + GROUP - 1) / GROUP;
    size_t from = x->columns * index / groups, to = x->columns * (index + 1) / groups;
    float *out = arranged + from * x->k;
    turn_columns(x->floats + from * x->k, x->k * sizeof *out, x->k, to - from, out);
}

// Sixteens of rows that a panel has, all columns.
static void multiply_panel(const struct tn_float_columns *x, struct block t, size_t k0)
{
    size_t groups = (x->columns + GROUP - 1) / GROUP, sixteens = (t.rows + 15) / 16;
    bool arranged = x->arranged && groups > 1;
    float *out = t.out;
    t.x_step = x->k;
    for (size_t g = 0; g < groups; g++) {
        size_t from = x->columns * g / groups, width = x->columns * (g + 1) / groups - from;
        t.x = arranged ? x->arranged + from * x->k + k0 * width : x->floats + from * x->k + k0;
        t.out = out + from * t.out_stride;
        blocks[arranged][sixteens - 1][width - 1](&t);
    }
}

// Asks for the rows of the next panel while this one is multiplied.
static void ask_for(const uint8_t *w, size_t row_bytes, size_t rows, size_t bytes)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < bytes; i += LINE) {
            __builtin_prefetch(w + r * row_bytes + i, 0, 2);
        }
    }
}

// What multiply is called with.
struct product {
    uint32_t type;
    bool packed;
    const uint8_t *w;
    size_t row_bytes, rows;
    const struct tn_float_columns *x;
    float *out;
    size_t out_stride;
    float *scratch;
};

// Makes the panel of rows [row, row + t.rows), depth values from k0 on, and multiplies it.
static void multiply_part(const struct product *p, bool ask, size_t row, size_t k0, size_t depth)
{
    struct block t = {.panel = p->scratch,
                      .panel_step = DEPTH * 16,
                      .depth = depth,
                      .out = p->out + row,
                      .out_stride = p->out_stride,
                      .rows = least(BLOCKS * 16, p->rows - row),
                      .first = k0 == 0};
    for (size_t r = 0; r < t.rows; r += 16) {
        const uint8_t *w = p->w + (row + r) * p->row_bytes;
        size_t n = least(16, t.rows - r);
        (p->type == TN_F32   ? panel_of_f32
         : p->type == TN_F16 ? panel_of_f16
                             : panel_of_bf16)(p->packed, ask, w, p->row_bytes, n, k0, depth,
                                              p->scratch + r * DEPTH);
    }
    multiply_panel(p->x, t, k0);
}

// Few columns: memory is the limit, so rows are read from end to end, in short panels.
static void multiply_few(const struct product *p)
{
    for (size_t row = 0; row < p->rows; row += BLOCKS * 16) {
        for (size_t k0 = 0; k0 == 0 || k0 < p->x->k; k0 += SHORT_DEPTH) {
            multiply_part(p, true, row, k0, least(SHORT_DEPTH, p->x->k - k0));
        }
    }
}

// Many: a slice of the columns stays in the cache while all rows are multiplied by it.
static void multiply_many(const struct product *p)
{
    const size_t k = p->x->k, most = BLOCKS * 16, bytes = value_bytes(p->type);
    for (size_t k0 = 0; k0 == 0 || k0 < k; k0 += DEPTH) {
        size_t depth = least(DEPTH, k - k0);
        for (size_t row = 0; row < p->rows; row += most) {
            const uint8_t *w = p->w + row * p->row_bytes + k0 * bytes;
            if (!p->packed && p->rows - row > most) {
                ask_for(w + most * p->row_bytes, p->row_bytes, least(most, p->rows - row - most),
                        depth * bytes);
            } else if (!p->packed && k - k0 > DEPTH) {
                ask_for(p->w + (k0 + DEPTH) * bytes, p->row_bytes, least(most, p->rows),
                        least(DEPTH, k - k0 - DEPTH) * bytes);
            }
            multiply_part(p, p->packed, row, k0, depth);
        }
    }
}

static void multiply(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                     const struct tn_float_columns *x, float *out, size_t out_stride,
                     float *scratch)
{
    const struct product p = {.type = type & ~(uint32_t)TN_PACKED,
                              .packed = type & TN_PACKED,
                              .w = w,
                              .row_bytes = row_bytes,
                              .rows = rows,
                              .x = x,
                              .out = out,
                              .out_stride = out_stride,
                              .scratch = scratch};
    if (x->columns == 1) {
        (p.type == TN_F32   ? column_of_f32
         : p.type == TN_F16 ? column_of_f16
                            : column_of_bf16)(p.packed, w, row_bytes, rows, x->floats, x->k, out);
    } else if (x->columns <= GROUP) {
        multiply_few(&p);
    } else {
        multiply_many(&p);
    }
}

#endif
