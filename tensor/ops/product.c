// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// MATMUL by the tiles of the model executor's products (tensor/cpu/product.h), finished here: bias,
// activation, residual on each tile while it is in cache.
#include "tensor/ops/ops_private.h"

enum { TOGETHER_MOST = 2048, TOGETHER_LEAST = 64, TOGETHER_VALUES = 1 << 24 };

size_t ops_matmul_together(uint64_t rows, uint64_t k)
{
    size_t most = TOGETHER_MOST;
    while (most > TOGETHER_LEAST && most * k > TOGETHER_VALUES) {
        most /= 2;
    }
    return rows < most ? (size_t)rows : most;
}

// One pass: rows of x that are quantised, or arranged, together.
struct pass {
    struct tn_ops *o;
    struct ir_matrix matrix;
    size_t first; // row of x
    size_t tile_rows, chunks;
    uint32_t activation;
    const float *bias, *residual;
    float *out;
};

// What becomes of one tile's results.
struct finish {
    const struct pass *p;
    float *tile;
    size_t row, column; // the tile's first ones; column 0 is row `first` of x
};

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void finish(const void *arg, size_t row, size_t rows, size_t column, size_t columns)
{
    const struct finish *f = arg;
    const struct pass *p = f->p;
    const struct ops_kernels *kernels = p->o->kernels;
    for (size_t c = column; c < column + columns; c++) {
        float *part = f->tile + c * p->tile_rows + row;
        size_t at = (p->first + f->column + c) * p->matrix.rows + f->row + row;
        if (p->bias) {
            add(part, p->bias + f->row + row, rows);
        }
        if (p->activation) {
            kernels->activate(p->activation, part, part, rows);
        }
        if (p->residual) {
            add(part, p->residual + at, rows);
        }
        for (size_t r = 0; r < rows; r += 16) { // the next part's
            __builtin_prefetch(p->out + at + columns * p->matrix.rows + r, 1);
        }
        for (size_t r = 0; r < rows; r++) {
            p->out[at + r] = part[r];
        }
    }
}

static void product_tile(void *arg, size_t i, unsigned worker)
{
    const struct pass *p = arg;
    const struct tn_executor *x = &p->o->x;
    size_t row = i / p->chunks * p->tile_rows, column = i % p->chunks * x->input.chunk;
    size_t rows = p->matrix.rows - row, columns = x->input.columns - column;
    struct finish f = {.p = p, .tile = x->workers[worker].tile[0], .row = row, .column = column};
    tn_multiply_tile(x, worker,
                     &(struct tn_tile){
                         .matrix = &p->matrix,
                         .row = row,
                         .rows = rows < p->tile_rows ? rows : p->tile_rows,
                         .column = column,
                         .columns = columns < x->input.chunk ? columns : x->input.chunk,
                         .ahead = p->tile_rows * p->o->pool.width,
                         .out = f.tile,
                         .stride = p->tile_rows,
                         .done = finish,
                         .arg = &f,
                     });
}

void ops_run_matmul(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *x = &o->tensors[n->in[0]], *w = &o->tensors[n->in[1]];
    const float *in = ops_data(o, n->in[0]);
    size_t k = x->shape[0], together = ops_matmul_together(x->rows, k);
    struct pass p = {.o = o,
                     .matrix = {.data = ops_data(o, n->in[1]),
                                .type = w->type,
                                .rows = (uint32_t)w->shape[1],
                                .columns = (uint32_t)k,
                                .row_bytes = w->row_bytes},
                     .activation = n->integer[0],
                     .bias = n->in[2] == TN_OPS_NONE ? NULL : ops_data(o, n->in[2]),
                     .residual = n->in[3] == TN_OPS_NONE ? NULL : ops_data(o, n->in[3]),
                     .out = ops_data(o, n->out)};
    for (; p.first < x->rows && !ops_stopped(o); p.first += together) {
        size_t left = x->rows - p.first, columns = left < together ? left : together;
        // Products of one input one after the other: q, k and v.
        if (o->prepared != n->in[0] || o->x.input.kind != tn_columns_kind_of(w->type)) {
            tn_prepare_input(&o->x, NULL, in + p.first * k, NULL, columns, k, w->type);
            o->prepared = columns == x->rows ? n->in[0] : TN_OPS_NONE;
        }
        p.tile_rows = tn_rows_per_tile(&o->x, p.matrix.rows);
        p.chunks = (columns + o->x.input.chunk - 1) / o->x.input.chunk;
        size_t row_tiles = (p.matrix.rows + p.tile_rows - 1) / p.tile_rows;
        o->pool.run(&o->pool, product_tile, &p, row_tiles * p.chunks);
    }
}
