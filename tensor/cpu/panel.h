// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Panels: a slice of sixteen weight rows unpacked, lanes are rows, for batches wide enough to share
// the unpacking. The bits are those of the row products (columns.h).
#ifndef TENSOR_CPU_PANEL_H
#define TENSOR_CPU_PANEL_H

#include "tensor/cpu/columns.h"

enum {
    TN_PANEL_ROWS = 16,
    TN_PANEL_SLICE = 768,  // values of a row that lie unpacked at a time: two panels fit into L1
    TN_PANEL_TOGETHER = 2, // panels that a kernel multiplies at a time
    TN_PANEL_COLUMNS = 12, // fewer columns go through row products
    TN_PANEL_CHUNK_MOST = 512, // more go through one after the other
    TN_PANEL_GROUP_MOST = 6,   // columns that a kernel multiplies at a time: 4 to 6
};

// Blocks of 32: w = scales * q + minima. Blocks of 256: w = scales * s * q - minima * m, with the
// integers s and m of each run (16 or 32 values, by type) as pairs of 16 bits, the earlier run's
// first.
struct tn_panel {
    _Alignas(64) uint8_t values[TN_PANEL_SLICE / 4][TN_PANEL_ROWS][4]; // q + the type's zero
    float scales[TN_PANEL_SLICE / 32][TN_PANEL_ROWS];                  // of blocks
    float minima[TN_PANEL_SLICE / 32][TN_PANEL_ROWS];
    int32_t run_scales[TN_PANEL_SLICE / 32][TN_PANEL_ROWS];
    int32_t run_minima[TN_PANEL_SLICE / 32][TN_PANEL_ROWS];
};

// Columns and what panels need of them beside: [column][k / 16] or [column][k / 32] each.
struct tn_panel_columns {
    struct tn_columns x;
    const int32_t *start16, *start32; // -128 times the sums of 16 (kind 256) and of 32
    // Kind 256: the sums of 16, the sums of 32, the latter times eight; read in pairs.
    const int16_t *sums16, *sums32, *sums32_times_8;
};
// Fills what belongs to columns [first, first + count) from x.sums.
void tn_panel_columns_fill(struct tn_panel_columns *p, size_t first, size_t count);

// The columns from column `first` on.
static inline struct tn_panel_columns tn_panel_columns_skip(const struct tn_panel_columns *p,
                                                            size_t first)
{
    size_t k = p->x.k;
    struct tn_panel_columns c = *p;
    c.x = tn_columns_skip(&p->x, first);
    if (p->start32) {
        c.start16 += first * (k / 16);
        c.start32 += first * (k / 32);
        c.sums16 += first * (k / 16);
        c.sums32 += first * (k / 32);
        c.sums32_times_8 += first * (k / 32);
    }
    return c;
}

// Told of results while they are in cache: out[column * out_stride + row] of rows [row, row + rows)
// and columns [column, column + columns) of a tile.
typedef void tn_tile_done(const void *arg, size_t row, size_t rows, size_t column, size_t columns);

// A tile: out[column * out_stride + row] for `rows` rows (of which kernels may write up to the next
// multiple of 32) and all `columns` (TN_PANEL_COLUMNS to TN_PANEL_CHUNK_MOST). Scratch:
// TN_PANEL_TOGETHER panels.
struct tn_panel_work {
    uint32_t type;
    const uint8_t *w;
    size_t row_bytes, rows;
    size_t ahead; // bytes from w to the rows that the worker is likely to multiply next; 0: unknown
    const struct tn_panel_columns *x;
    size_t columns;
    struct tn_panel *scratch;
    float *out;
    size_t out_stride;
    tn_tile_done *done; // NULL: none
    const void *arg;
};
typedef void tn_panel_multiply(const struct tn_panel_work *work);

// Values [from, from + count) of a packed strip (packed.h), at most 256, taken apart; returns where
// their bytes stand.
struct tn_chunk;
const uint8_t *tn_unpack_chunk_avx512vnni(uint32_t type, const uint8_t *strip, size_t k,
                                          size_t from, size_t count, struct tn_chunk *out);
tn_panel_multiply tn_panel_multiply_avx2, tn_panel_multiply_avx512;

#endif
