// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tiles of matrix products, for product.c and experts.c.
#ifndef TENSOR_CPU_PRODUCT_H
#define TENSOR_CPU_PRODUCT_H

#include "tensor/cpu/executor.h"

enum {
    TILE_FLOATS = 16384,                     // results of one tile
    TILE_COLUMNS_MOST = TN_PANEL_CHUNK_MOST, // so that a tile has 32 rows at least
    TILE_ROWS_MOST = 256,
};

// Memory for x->input: `columns` columns of up to `floats` values for float weights, and of up to
// `integers` for others (0: none).
void tn_input_carve(struct tn_executor *x, struct tn_arena *a, size_t columns, size_t floats,
                    size_t integers);
// Makes x->input hold `columns` columns as weights of `type` want them, on the pool: column c is
// in[c], or in[index[c]] where there is an index (not for floats), of `in`, [][k], through a norm
// unless that is NULL (not for floats; k at most TILE_FLOATS).
void tn_prepare_input(struct tn_executor *x, const struct ir_op *norm, const float *in,
                      const uint32_t *index, size_t columns, size_t k, uint32_t type);
// A part of a product: rows [row, row + rows) of a matrix times columns [column, column + columns)
// of x->input.
struct tn_tile {
    const struct ir_matrix *matrix;
    size_t row, rows, column, columns;
    size_t ahead; // how many rows on the worker's next tile is likely to begin; 0: unknown
    float *out;   // out[column * stride + row], counted from the tile's first ones
    size_t stride;
    tn_tile_done *done; // told of all results, part by part, with arg; NULL: none
    const void *arg;
};
// `row` is a multiple of 16; up to 31 rows beyond the last may be written. Floats are arranged only
// for whole chunks. Any number of workers at a time.
void tn_multiply_tile(const struct tn_executor *x, unsigned worker, const struct tn_tile *t);
// Rows a tile, a power of two from 16 on: about the same work whatever the batch, so that a tile's
// time stays bounded (DESIGN decision 8), and a few tiles for each worker.
size_t tn_rows_per_tile(const struct tn_executor *x, size_t rows);

void tn_run_experts(struct tn_executor *x, const struct ir_op *op);
void tn_experts_carve(struct tn_executor *x, struct tn_arena *a);
// Columns of products of experts in one step at most.
size_t tn_experts_columns(const struct tn_executor *x);

#endif
