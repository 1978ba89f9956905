// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Matrix products: columns quantised once, weight rows cut into tiles, the epilogue (bias,
// activation or gate, residual) on each tile while it is in cache. Which path computes a column
// never changes its bits.
#include "tensor/cpu/executor.h"

// Products of one input, run as one job: q, k and v wait for each other once, not three times.
struct product {
    struct tn_executor *x;
    const struct ir_op *ops; // op_count of them
    size_t op_count;
    struct tn_columns in;
    size_t columns, tile_rows, k;
};

// ---- quantising --------------------------------------------------------------------------------

enum { QUANTISED_TOGETHER = 8 };

static void quantise_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    struct product *p = arg;
    const struct tn_integer_kernels *kernels = p->x->integers;
    const float *in = tn_value(p->x, p->ops->in[0]);
    size_t first = i * QUANTISED_TOGETHER;
    for (size_t c = first; c < p->columns && c < first + QUANTISED_TOGETHER; c++) {
        struct tn_columns q = tn_columns_skip(&p->in, c);
        // The buffers are this executor's own; the structure shows them read-only to kernels.
        int8_t *values = (int8_t *)(uintptr_t)q.values;
        kernels->quantise(q.kind, in + c * p->k, p->k, values, (float *)(uintptr_t)q.scales,
                          (int32_t *)(uintptr_t)q.sums);
        if (kernels->arrange) {
            kernels->arrange(values, p->k, (uint8_t *)(uintptr_t)q.arranged);
        }
    }
}

// Makes p->in ready: the value itself, or its columns quantised.
static void prepare_columns(struct product *p, enum tn_columns_kind kind)
{
    struct tn_executor *x = p->x;
    if (kind == TN_COLUMNS_FLOAT) {
        p->in = (struct tn_columns){.kind = kind, .k = p->k, .floats = tn_value(x, p->ops->in[0])};
        return;
    }
    bool done = x->quantised_value == p->ops->in[0] && x->quantised.kind == kind;
    x->quantised_value = p->ops->in[0];
    x->quantised.kind = kind;
    x->quantised.k = p->k;
    p->in = x->quantised;
    if (!done) {
        x->options.pool->run(x->options.pool, quantise_tile, p,
                             (p->columns + QUANTISED_TOGETHER - 1) / QUANTISED_TOGETHER);
    }
}

// ---- tiles -------------------------------------------------------------------------------------

// out[column][tile_rows] = rows [row, row + rows) times all columns.
static void multiply_tile(const struct product *p, const struct ir_matrix *m, size_t row,
                          size_t rows, float *out)
{
    const struct tn_kernels *kernels = p->x->kernels;
    const uint8_t *w = m->data + row * m->row_bytes;
    const float *in = p->in.floats;
    if (m->type == TN_F32) {
        kernels->dot_f32(w, m->row_bytes, rows, in, p->columns, p->k, out, p->tile_rows);
    } else if (m->type == TN_F16) {
        kernels->dot_f16(w, m->row_bytes, rows, in, p->columns, p->k, out, p->tile_rows);
    } else if (m->type == TN_BF16) {
        kernels->dot_bf16(w, m->row_bytes, rows, in, p->columns, p->k, out, p->tile_rows);
    } else {
        tn_row_product_of(p->x->options.isa, m->type)(w, m->row_bytes, rows, &p->in, p->columns,
                                                      out, p->tile_rows);
    }
}

static void add_bias(const struct product *p, float *tile, const float *bias, size_t rows)
{
    for (size_t c = 0; bias && c < p->columns; c++, tile += p->tile_rows) {
        for (size_t r = 0; r < rows; r++) {
            tile[r] += bias[r];
        }
    }
}

static void store_tile(const struct product *p, const struct ir_op *op, const float *tile,
                       size_t row, size_t rows)
{
    const struct tn_executor *x = p->x;
    size_t width = op->matrix[0].rows;
    const float *residual = op->residual ? tn_value(x, op->residual) : NULL;
    for (size_t c = 0; c < p->columns; c++, tile += p->tile_rows) {
        float *out = op->kind == IR_LOGITS ? x->logits[c] : tn_value(x, op->out) + c * width;
        out += row;
        const float *add = residual ? residual + c * width + row : NULL;
        for (size_t r = 0; r < rows; r++) {
            out[r] = add ? tile[r] + add[r] : tile[r];
        }
    }
}

static size_t tiles_of(const struct product *p, const struct ir_op *op)
{
    return (op->matrix[0].rows + p->tile_rows - 1) / p->tile_rows;
}

static void product_tile(void *arg, size_t i, unsigned worker)
{
    const struct product *p = arg;
    const struct ir_op *op = p->ops;
    struct tn_worker *w = &p->x->workers[worker];
    while (i >= tiles_of(p, op)) {
        i -= tiles_of(p, op++);
    }
    size_t row = i * p->tile_rows, most = op->matrix[0].rows - row;
    size_t rows = most < p->tile_rows ? most : p->tile_rows;
    for (int j = 0; j < (op->kind == IR_GATED ? 2 : 1); j++) {
        multiply_tile(p, &op->matrix[j], row, rows, w->tile[j]);
        add_bias(p, w->tile[j], op->vector[j] ? op->vector[j] + row : NULL, rows);
    }
    if (op->kind == IR_GATED) {
        for (size_t c = 0; c < p->columns; c++) {
            size_t at = c * p->tile_rows;
            p->x->kernels->silu_mul(w->tile[0] + at, w->tile[1] + at, rows);
        }
    }
    store_tile(p, op, w->tile[0], row, rows);
}

// Rows a tile: about the same work whatever the batch, so that a tile's time stays bounded
// (DESIGN decision 8), and at least a few tiles for each worker.
static size_t rows_per_tile(const struct product *p, size_t rows)
{
    size_t space = TILE_FLOATS_LEAST / p->columns;
    size_t work = (p->x->options.isa == TN_ISA_SCALAR ? 1u << 20 : 1u << 23) / (p->columns * p->k);
    size_t best = TILE_ROWS_MOST;
    while (best > TILE_ROWS_LEAST &&
           (best > space || best > work || rows / best < 4 * (size_t)p->x->options.pool->width)) {
        best /= 2;
    }
    return best;
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
    struct product p = {.x = x,
                        .ops = ops,
                        .op_count = 1,
                        .columns = tn_rows_of(x, x->graph->values[ops->in[0]].rows),
                        .k = ops->matrix[0].columns};
    size_t rows = ops->matrix[0].rows, tiles = 0;
    for (; p.op_count < count && goes_along(ops, &ops[p.op_count]); p.op_count++) {
        rows += ops[p.op_count].matrix[0].rows;
    }
    if (p.columns == 0) {
        return p.op_count;
    }
    prepare_columns(&p, tn_columns_kind_of(ops->matrix[0].type));
    p.tile_rows = rows_per_tile(&p, rows);
    for (size_t i = 0; i < p.op_count; i++) {
        tiles += tiles_of(&p, &ops[i]);
    }
    x->options.pool->run(x->options.pool, product_tile, &p, tiles);
    return p.op_count;
}
