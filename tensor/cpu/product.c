// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Matrix products: weight rows, and columns where there are many, cut into tiles; and the epilogue
// (bias, activation or gate, residual) on each tile while it is in cache.
#include "tensor/cpu/product.h"

#include <string.h>

// Products of one input, run as one job: q, k and v wait for each other once, not three times.
struct product {
    struct tn_executor *x;
    const struct ir_op *ops; // op_count of them
    size_t op_count, tile_rows, chunks;
};

// One tile of one operation.
struct tile {
    const struct ir_op *op;
    size_t row, rows, column, columns, stride;
};

// Calls on each column's rows, or on all of them at once where no gaps lie between.
#define EACH_PART(t, at, n)                                                                        \
    for (size_t at = 0, n = (t)->rows == (t)->stride ? (t)->columns * (t)->stride : (t)->rows;     \
         at < (t)->columns * (t)->stride; at += n == (t)->rows ? (t)->stride : n)

static void add_bias(const struct tile *t, float *tile, const float *bias)
{
    for (size_t c = 0; bias && c < t->columns; c++, tile += t->stride) {
        for (size_t r = 0; r < t->rows; r++) {
            tile[r] += bias[t->row + r];
        }
    }
}

static void store_tile(const struct tn_executor *x, const struct tile *t, const float *tile)
{
    size_t width = t->op->matrix[0].rows;
    const float *residual = t->op->residual ? tn_value(x, t->op->residual) : NULL;
    for (size_t c = t->column; c < t->column + t->columns; c++, tile += t->stride) {
        float *out = t->op->kind == IR_LOGITS ? x->logits[c] : tn_value(x, t->op->out) + c * width;
        out += t->row;
        if (!residual) {
            memcpy(out, tile, t->rows * sizeof *out);
            continue;
        }
        const float *add = residual + c * width + t->row;
        for (size_t r = 0; r < t->rows; r++) {
            out[r] = tile[r] + add[r];
        }
    }
}

static void finish_tile(const struct tn_executor *x, const struct tile *t, float *const tile[2])
{
    const struct tn_row_kernels *kernels = x->row_kernels;
    const struct ir_op *op = t->op;
    if (op->kind == IR_GATED) {
        EACH_PART(t, at, n)
        {
            kernels->gate(op->activation, tile[0] + at, tile[1] + at, n);
        }
    } else if (op->activation != IR_NONE) {
        EACH_PART(t, at, n)
        {
            kernels->activate(op->activation, tile[0] + at, n);
        }
    } else if (op->kind == IR_LOGITS && op->number != 0) {
        EACH_PART(t, at, n)
        {
            kernels->softcap(tile[0] + at, n, op->number);
        }
    }
    store_tile(x, t, tile[0]);
}

static size_t row_tiles_of(const struct product *p, const struct ir_op *op)
{
    return (op->matrix[0].rows + p->tile_rows - 1) / p->tile_rows;
}

static void product_tile(void *arg, size_t i, unsigned worker)
{
    const struct product *p = arg;
    const struct tn_executor *x = p->x;
    const struct ir_op *op = p->ops;
    while (i >= row_tiles_of(p, op) * p->chunks) {
        i -= row_tiles_of(p, op++) * p->chunks;
    }
    struct tile t = {.op = op,
                     .row = i / p->chunks * p->tile_rows,
                     .column = i % p->chunks * x->input.chunk,
                     .stride = p->tile_rows};
    size_t rows = op->matrix[0].rows - t.row, columns = x->input.columns - t.column;
    t.rows = rows < p->tile_rows ? rows : p->tile_rows;
    t.columns = columns < x->input.chunk ? columns : x->input.chunk;
    float *const *tile = x->workers[worker].tile;
    for (int j = 0; j < (op->kind == IR_GATED ? 2 : 1); j++) {
        tn_multiply_tile(x, worker, &op->matrix[j], t.row, t.rows, t.column, t.columns, tile[j],
                         t.stride);
        add_bias(&t, tile[j], op->vector[j]);
    }
    finish_tile(x, &t, tile);
}

// May `next` run in one job with `op`, which comes just before it?
static bool goes_along(const struct ir_op *op, const struct ir_op *next)
{
    return op->kind == IR_MATMUL && next->kind == IR_MATMUL && op->in[0] == next->in[0] &&
           !op->residual && !next->residual &&
           tn_columns_kind_of(op->matrix[0].type) == tn_columns_kind_of(next->matrix[0].type);
}

size_t tn_run_products(struct tn_executor *x, const struct ir_op *ops, size_t count)
{
    if (ops->kind == IR_EXPERTS) {
        tn_run_experts(x, ops);
        return 1;
    }
    struct product p = {.x = x, .ops = ops, .op_count = 1};
    size_t columns = tn_rows_of(x, x->graph->values[ops->in[0]].rows);
    size_t rows = ops->matrix[0].rows, tiles = 0;
    for (; p.op_count < count && goes_along(ops, &ops[p.op_count]); p.op_count++) {
        rows += ops[p.op_count].matrix[0].rows;
    }
    if (columns == 0) {
        return p.op_count;
    }
    if (x->input_value != ops->in[0] || x->input.kind != tn_columns_kind_of(ops->matrix[0].type)) {
        tn_prepare_input(x, tn_value(x, ops->in[0]), NULL, columns, ops->matrix[0].columns,
                         ops->matrix[0].type);
        x->input_value = ops->in[0];
    }
    p.tile_rows = tn_rows_per_tile(x, rows);
    p.chunks = (columns + x->input.chunk - 1) / x->input.chunk;
    for (size_t i = 0; i < p.op_count; i++) {
        tiles += row_tiles_of(&p, &ops[i]) * p.chunks;
    }
    x->options.pool->run(x->options.pool, product_tile, &p, tiles);
    return p.op_count;
}
