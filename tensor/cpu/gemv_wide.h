// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Batches on levels without VNNI: each 256 values of sixteen rows are unpacked once and multiplied
// by all columns. Include after gemv_products.h.
#ifndef TENSOR_CPU_GEMV_WIDE_H
#define TENSOR_CPU_GEMV_WIDE_H

#include "tensor/cpu/panel.h"

// Results of sixteen rows lie in the panels' place meanwhile.
_Static_assert(TN_PANEL_CHUNK_MOST *TN_STRIP_ROWS * sizeof(float) <=
                   TN_PANEL_TOGETHER * sizeof(struct tn_panel),
               "scratch holds one strip's results");

static void multiply_wide(const struct tn_panel_work *work)
{
    static const struct strip_type *const strips[TN_TYPE_LIMIT] = STRIP_TABLE(&strip_);
    const bool packed = work->type & TN_PACKED;
    const struct strip_type *t = strips[work->type & ~(uint32_t)TN_PACKED];
    const struct tn_packed_layout *layout = tn_packed_layout(t->type);
    const struct tn_type_info *info = tn_type_info(t->type);
    const struct tn_columns *x = &work->x->x;
    const size_t blocks = x->k / info->block_values, most = TN_CHUNK / info->block_values;
    const size_t dword_bytes = layout->dwords * 64u;
    float(*acc)[16] = (float(*)[16])(void *)work->scratch;
    struct tn_chunk chunk;
    _Alignas(64) uint8_t turned_heads[MOST_HEADS], turned[MOST_DWORDS * 64];
    for (size_t r = 0; r < work->rows; r += TN_STRIP_ROWS) {
        const uint8_t *w = work->w + r * work->row_bytes;
        int32_t offset[TN_STRIP_ROWS]; // rows that are not there: the first once more
        for (size_t i = 0; i < TN_STRIP_ROWS; i++) {
            offset[i] = r + i < work->rows ? (int32_t)(i * work->row_bytes) : 0;
        }
        memset(acc, 0, work->columns * sizeof *acc);
        for (size_t b = 0; b < blocks; b += most) {
            size_t count = blocks - b < most ? blocks - b : most;
            const uint8_t *dwords = turned, *heads = turned_heads;
            if (packed) {
                dwords = w + b * dword_bytes;
                heads = w + blocks * dword_bytes + b * layout->head_bytes;
            } else {
                t->turn(w + b * info->block_bytes, offset, count, turned_heads, turned);
            }
            t->unpack(heads, dwords, dwords, count, &chunk);
            t->add(t->values_are_dwords ? dwords : chunk.values[0], &chunk, count, x, work->columns,
                   b, acc);
        }
        size_t left = work->rows - r;
        put_results(acc, work->columns, left, work->out + r, work->out_stride);
        if (work->done) {
            work->done(work->arg, r, left < TN_STRIP_ROWS ? left : TN_STRIP_ROWS, 0, work->columns);
        }
    }
}

#endif
