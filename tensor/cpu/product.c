// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Matrix products: weight rows, and columns where there are many, cut into tiles; and the epilogue
// (bias, activation or gate, residual) on each tile while it is in cache.
#include "tensor/cpu/product.h"

// Products of one input, run as one job: q, k and v wait for each other once, not three times.
struct product {
    struct tn_executor *x;
    const struct ir_op *ops; // op_count of them
    size_t op_count, tile_rows, chunks;
};

// What becomes of one tile's results.
struct finish {
    const struct tn_executor *x;
    const struct ir_op *op;
    size_t row, column, stride; // the tile's first ones
    float *const *tile;         // [2]: of two matrices
    int matrix;                 // the last one is finished
};

static void add_bias(float *part, size_t stride, size_t columns, const float *bias, size_t rows)
{
    for (size_t c = 0; c < columns; c++, part += stride) {
        for (size_t r = 0; r < rows; r++) {
            part[r] += bias[r];
        }
    }
}

// The operation's activation, gate or soft cap on n values that lie together.
static void activate(const struct finish *f, float *part, const float *other, size_t n)
{
    const struct tn_row_kernels *kernels = f->x->row_kernels;
    if (f->op->kind == IR_GATED) {
        kernels->gate(f->op->activation, part, other, n);
    } else if (f->op->kind == IR_LOGITS) {
        kernels->softcap(part, n, f->op->number);
    } else {
        kernels->activate(f->op->activation, part, n);
    }
}

static void store(const struct finish *f, const float *part, size_t row, size_t rows, size_t column,
                  size_t columns)
{
    size_t width = f->op->matrix[0].rows;
    const float *residual = f->op->residual ? tn_value(f->x, f->op->residual) : NULL;
    for (size_t c = column; c < column + columns; c++, part += f->stride) {
        float *out = f->op->kind == IR_LOGITS ? f->x->logits[c] + row
                                              : tn_value(f->x, f->op->out) + c * width + row;
        const float *add = residual ? residual + c * width + row : NULL;
        for (size_t r = 0; r < rows && f->op->kind != IR_LOGITS; r += 16) { // the next part's
            __builtin_prefetch(out + columns * width + r, 1);
        }
        if (add) {
            for (size_t r = 0; r < rows; r++) {
                out[r] = part[r] + add[r];
            }
        } else {
            for (size_t r = 0; r < rows; r++) {
                out[r] = part[r];
            }
        }
    }
}

static void finish(const void *arg, size_t row, size_t rows, size_t column, size_t columns)
{
    const struct finish *f = arg;
    const struct ir_op *op = f->op;
    const size_t at = column * f->stride + row;
    const bool gated = op->kind == IR_GATED;
    const float *bias = op->vector[f->matrix];
    if (bias) {
        add_bias(f->tile[f->matrix] + at, f->stride, columns, bias + f->row + row, rows);
    }
    if (gated && f->matrix == 0) {
        return;
    }
    float *part = f->tile[0] + at;
    if (gated || op->activation != IR_NONE || (op->kind == IR_LOGITS && op->number != 0)) {
        const float *other = f->tile[1] + at;
        if (rows == f->stride) {
            activate(f, part, other, columns * rows);
        } else {
            for (size_t c = 0; c < columns; c++) {
                activate(f, part + c * f->stride, other + c * f->stride, rows);
            }
        }
    }
    store(f, part, f->row + row, rows, f->column + column, columns);
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
    size_t row = i / p->chunks * p->tile_rows, column = i % p->chunks * x->input.chunk;
    size_t rows = op->matrix[0].rows - row, columns = x->input.columns - column;
    struct finish f = {.x = x,
                       .op = op,
                       .row = row,
                       .column = column,
                       .stride = p->tile_rows,
                       .tile = x->workers[worker].tile};
    struct tn_tile t = {.row = row,
                        .rows = rows < p->tile_rows ? rows : p->tile_rows,
                        .column = column,
                        .columns = columns < x->input.chunk ? columns : x->input.chunk,
                        .ahead = p->tile_rows * x->options.pool->width,
                        .stride = p->tile_rows,
                        .done = finish,
                        .arg = &f};
    for (f.matrix = 0; f.matrix < (op->kind == IR_GATED ? 2 : 1); f.matrix++) {
        t.matrix = &op->matrix[f.matrix];
        t.out = f.tile[f.matrix];
        tn_multiply_tile(x, worker, &t);
    }
}

// May `next` run in one job with `op`, which comes just before it?
static bool goes_along(const struct ir_op *op, const struct ir_op *next)
{
    return op->kind == IR_MATMUL && next->kind == IR_MATMUL && op->in[0] == next->in[0] &&
           op->norm == next->norm && !op->residual && !next->residual &&
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
    if (x->input_value != ops->in[0] || x->input_norm != ops->norm ||
        x->input.kind != tn_columns_kind_of(ops->matrix[0].type)) {
        tn_prepare_input(x, ops->norm, tn_value(x, ops->in[0]), NULL, columns,
                         ops->matrix[0].columns, ops->matrix[0].type);
        x->input_value = ops->in[0];
        x->input_norm = ops->norm;
    }
    p.tile_rows = tn_rows_per_tile(x, rows);
    p.chunks = (columns + x->input.chunk - 1) / x->input.chunk;
    for (size_t i = 0; i < p.op_count; i++) {
        tiles += row_tiles_of(&p, &ops[i]) * p.chunks;
    }
    x->options.pool->run(x->options.pool, product_tile, &p, tiles);
    return p.op_count;
}
