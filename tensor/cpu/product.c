// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Matrix products: columns quantised once, weight rows cut into tiles, the epilogue (bias, gate,
// residual) on each tile while it is in cache. Which path computes a column never changes its bits.
#include "tensor/cpu/executor.h"

// Products of one input, run as one job: q, k and v wait for each other once, not three times.
struct product {
    struct tn_executor *x;
    const struct ir_op *ops; // op_count of them
    size_t op_count;
    const float *in;
    size_t columns, panels, panel_columns; // the first panel_columns go through panels
    size_t tile_rows, k;
    bool integers;
};

static bool is_integer_type(uint32_t type)
{
    return type == TN_Q8_0 || type == TN_Q4_0;
}

// ---- quantising --------------------------------------------------------------------------------

// One group of sixteen columns.
static void quantise_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    struct product *p = arg;
    const struct tn_columns8 *q = &p->x->quantised;
    const struct tn_kernels *kernels = p->x->kernels;
    size_t from = i * TN_PANEL_COLUMNS, blocks = p->k / TN_BLOCK;
    size_t count = p->columns - from < TN_PANEL_COLUMNS ? p->columns - from : TN_PANEL_COLUMNS;
    // The buffers are this executor's own; the structure shows them read-only to kernels.
    uint8_t *values = (uint8_t *)(uintptr_t)q->values;
    size_t column_bytes = p->k * kernels->column_value_bytes;
    float *scales = (float *)(uintptr_t)q->scales;
    int32_t *sums = (int32_t *)(uintptr_t)q->sums;
    for (size_t c = from; c < from + count; c++) {
        kernels->quantise(p->in + c * p->k, p->k, values + c * column_bytes, scales + c * blocks,
                          sums + c * blocks);
    }
    if (i < p->panels) {
        struct tn_columns8 group = tn_columns_from(q, from, p->k, kernels->column_value_bytes);
        const struct tn_panel *panel = &p->x->panels[i];
        kernels->panel_pack(&group, p->k, count, (void *)(uintptr_t)panel->values,
                            (float *)(uintptr_t)panel->scales, (int32_t *)(uintptr_t)panel->sums);
    }
}

static void place_panels(struct tn_executor *x, size_t panels, size_t k)
{
    size_t blocks = k / TN_BLOCK;
    const uint8_t *values = x->panels[0].values;
    for (size_t i = 1; i < panels; i++) {
        x->panels[i].values = values + i * k * TN_PANEL_COLUMNS * x->kernels->panel_value_bytes;
        x->panels[i].scales = x->panels[0].scales + i * blocks * TN_PANEL_COLUMNS;
        x->panels[i].sums = x->panels[0].sums + i * blocks * TN_PANEL_COLUMNS;
    }
}

// How many columns go through panels: whole sixteens, and a last part that is worth it.
static size_t panel_count(const struct tn_kernels *kernels, size_t columns)
{
    if (!kernels->panel_dot) {
        return 0;
    }
    size_t rest = columns % TN_PANEL_COLUMNS;
    return columns / TN_PANEL_COLUMNS + (rest && rest >= kernels->panel_from);
}

static void quantise_columns(struct product *p)
{
    struct tn_executor *x = p->x;
    p->panels = panel_count(x->kernels, p->columns);
    p->panel_columns = p->panels * TN_PANEL_COLUMNS;
    if (p->panel_columns > p->columns) {
        p->panel_columns = p->columns;
    }
    if (x->quantised_value == p->ops->in[0]) {
        return;
    }
    x->quantised_value = p->ops->in[0];
    place_panels(x, p->panels, p->k);
    x->options.pool->run(x->options.pool, quantise_tile, p,
                         (p->columns + TN_PANEL_COLUMNS - 1) / TN_PANEL_COLUMNS);
}

// ---- tiles -------------------------------------------------------------------------------------

static void float_tile(const struct product *p, const struct ir_matrix *m, size_t row, size_t rows,
                       float *out)
{
    const struct tn_kernels *kernels = p->x->kernels;
    const uint8_t *w = m->data + row * m->row_bytes;
    if (m->type == TN_F32) {
        kernels->dot_f32(w, m->row_bytes, rows, p->in, p->columns, p->k, out, p->tile_rows);
    } else if (m->type == TN_F16) {
        kernels->dot_f16(w, m->row_bytes, rows, p->in, p->columns, p->k, out, p->tile_rows);
    } else {
        kernels->dot_bf16(w, m->row_bytes, rows, p->in, p->columns, p->k, out, p->tile_rows);
    }
}

static void integer_tile(const struct product *p, const struct ir_matrix *m, size_t row,
                         size_t rows, struct tn_worker *worker, float *out)
{
    const struct tn_kernels *kernels = p->x->kernels;
    const uint8_t *w = m->data + row * m->row_bytes;
    size_t width = p->panels * TN_PANEL_COLUMNS;
    for (size_t r = 0; p->panels && r < rows; r += TN_PANEL_ROWS) {
        size_t count = rows - r < TN_PANEL_ROWS ? rows - r : TN_PANEL_ROWS;
        kernels->panel_unpack(m->type, w + r * m->row_bytes, m->row_bytes, count, p->k,
                              &worker->rows);
        kernels->panel_dot(&worker->rows, p->x->panels, p->panels, p->k, out + r * width, width);
    }
    size_t left = p->columns - p->panel_columns;
    struct tn_columns8 rest =
        tn_columns_from(&p->x->quantised, p->panel_columns, p->k, kernels->column_value_bytes);
    out += p->tile_rows * width;
    if (left && m->type == TN_Q8_0) {
        kernels->dot_q8_0(w, m->row_bytes, rows, &rest, left, p->k, out, p->tile_rows);
    } else if (left) {
        kernels->dot_q4_0(w, m->row_bytes, rows, &rest, left, p->k, out, p->tile_rows);
    }
}

// Where column c of a tile begins, and the step from row to row in it.
static float *tile_column(const struct product *p, float *tile, size_t c, size_t *step)
{
    size_t width = p->panels * TN_PANEL_COLUMNS;
    if (c < p->panel_columns) {
        *step = width;
        return tile + c;
    }
    *step = 1;
    return tile + p->tile_rows * width + (c - p->panel_columns) * p->tile_rows;
}

static void add_bias(const struct product *p, float *tile, const float *bias, size_t rows)
{
    for (size_t c = 0; bias && c < p->columns; c++) {
        size_t step;
        float *t = tile_column(p, tile, c, &step);
        for (size_t r = 0; r < rows; r++) {
            t[r * step] += bias[r];
        }
    }
}

static void store_tile(const struct product *p, const struct ir_op *op, float *tile, size_t row,
                       size_t rows)
{
    const struct tn_executor *x = p->x;
    size_t width = op->matrix[0].rows;
    const float *residual = op->residual ? tn_value(x, op->residual) : NULL;
    for (size_t c = 0; c < p->columns; c++) {
        size_t step;
        const float *t = tile_column(p, tile, c, &step);
        float *out = op->kind == IR_LOGITS ? x->logits[c] : tn_value(x, op->out) + c * width;
        out += row;
        if (residual) {
            const float *add = residual + c * width + row;
            for (size_t r = 0; r < rows; r++) {
                out[r] = t[r * step] + add[r];
            }
        } else {
            for (size_t r = 0; r < rows; r++) {
                out[r] = t[r * step];
            }
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
        if (p->integers) {
            integer_tile(p, &op->matrix[j], row, rows, w, w->tile[j]);
        } else {
            float_tile(p, &op->matrix[j], row, rows, w->tile[j]);
        }
        add_bias(p, w->tile[j], op->vector[j] ? op->vector[j] + row : NULL, rows);
    }
    if (op->kind == IR_GATED) {
        // Both tiles have one layout; what lies between their parts is computed along, not used.
        size_t panel_floats = p->panels * TN_PANEL_COLUMNS * rows;
        size_t rest = p->tile_rows * p->panels * TN_PANEL_COLUMNS;
        p->x->kernels->silu_mul(w->tile[0], w->tile[1], panel_floats);
        for (size_t c = p->panel_columns; c < p->columns; c++, rest += p->tile_rows) {
            p->x->kernels->silu_mul(w->tile[0] + rest, w->tile[1] + rest, rows);
        }
    }
    store_tile(p, op, w->tile[0], row, rows);
}

// Rows a tile: about the same work whatever the batch, so that a tile's time stays bounded
// (DESIGN decision 8), and at least a few tiles for each worker.
static size_t rows_per_tile(const struct product *p, size_t rows)
{
    size_t width = p->panels * TN_PANEL_COLUMNS + (p->columns - p->panel_columns);
    size_t space = TILE_FLOATS_LEAST / width;
    size_t work = (p->x->options.isa == TN_ISA_SCALAR ? 1u << 20 : 1u << 23) / (width * p->k);
    size_t best = TILE_ROWS_MOST;
    while (best > 8 &&
           (best > space || best > work || rows / best < 4 * (size_t)p->x->options.pool->width)) {
        best /= 2;
    }
    while (best > TN_PANEL_ROWS && best > space) {
        best /= 2;
    }
    return best;
}

// May `next` run in one job with `op`, which comes just before it?
static bool goes_along(const struct ir_op *op, const struct ir_op *next)
{
    return op->kind == IR_MATMUL && next->kind == IR_MATMUL && op->in[0] == next->in[0] &&
           !op->residual && !next->residual &&
           is_integer_type(op->matrix[0].type) == is_integer_type(next->matrix[0].type);
}

size_t tn_run_products(struct tn_executor *x, const struct ir_op *ops, size_t count)
{
    struct product p = {.x = x,
                        .ops = ops,
                        .op_count = 1,
                        .in = tn_value(x, ops->in[0]),
                        .columns = tn_rows_of(x, x->graph->values[ops->in[0]].rows),
                        .k = ops->matrix[0].columns,
                        .integers = is_integer_type(ops->matrix[0].type)};
    size_t rows = ops->matrix[0].rows, tiles = 0;
    for (; p.op_count < count && goes_along(ops, &ops[p.op_count]); p.op_count++) {
        rows += ops[p.op_count].matrix[0].rows;
    }
    if (p.columns == 0) {
        return p.op_count;
    }
    if (p.integers) {
        quantise_columns(&p);
    }
    p.tile_rows = rows_per_tile(&p, rows);
    for (size_t i = 0; i < p.op_count; i++) {
        tiles += tiles_of(&p, &ops[i]);
    }
    x->options.pool->run(x->options.pool, product_tile, &p, tiles);
    return p.op_count;
}
