// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The inputs of products: columns quantised, or arranged, once for all weight rows; and one tile of
// a product by whichever path suits its width. Which one it is never changes a bit.
#include "tensor/cpu/product.h"

#include "tensor/cpu/decode.h"

enum { QUANTISED_TOGETHER = 8, WORK_MOST = 1 << 26 };

// ---- memory ------------------------------------------------------------------------------------

static void carve_integers(struct tn_executor *x, struct tn_arena *a, size_t columns, size_t k)
{
    struct tn_panel_columns *p = &x->input.integers;
    p->x.values = tn_arena_take(a, columns * k);
    p->x.scales = tn_arena_take(a, columns * (k / 32) * sizeof(float));
    p->x.sums = tn_arena_take(a, columns * (k / 16) * sizeof(int32_t));
    p->x.arranged_bytes = x->integers->arranged_bytes;
    p->x.arranged = tn_arena_take(a, columns * k * p->x.arranged_bytes);
    if (x->integers->multiply) {
        p->start16 = tn_arena_take(a, columns * (k / 16) * sizeof(int32_t));
        p->start32 = tn_arena_take(a, columns * (k / 32) * sizeof(int32_t));
        p->sums16 = tn_arena_take(a, columns * (k / 16) * sizeof(int16_t));
        p->sums32 = tn_arena_take(a, columns * (k / 32) * sizeof(int16_t));
        p->sums32_times_8 = tn_arena_take(a, columns * (k / 32) * sizeof(int16_t));
    }
}

void tn_input_carve(struct tn_executor *x, struct tn_arena *a, size_t columns, size_t floats,
                    size_t integers)
{
    carve_integers(x, a, columns, integers);
    x->arranged = tn_arena_take(a, columns * floats * sizeof(float));
}

static void widen(const struct ir_matrix *m, size_t *floats, size_t *integers)
{
    enum tn_columns_kind kind = m->columns ? tn_columns_kind_of(m->type) : TN_COLUMNS_NONE;
    size_t *most = kind == TN_COLUMNS_FLOAT ? floats : integers;
    if (kind != TN_COLUMNS_NONE && m->columns > *most) {
        *most = m->columns;
    }
}

void tn_products_carve(struct tn_executor *x, struct tn_arena *a)
{
    const struct ir_graph *g = x->graph;
    size_t columns = x->options.max_tokens, pairs = tn_experts_columns(x);
    size_t floats = 0, integers = 0;
    columns = pairs > columns ? pairs : columns;
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        if (op->kind == IR_EMBED || op->kind == IR_ADD_POSITION) {
            continue; // rows are only looked up
        }
        widen(&op->matrix[0], &floats, &integers);
        widen(&op->matrix[1], &floats, &integers);
        if (op->experts) {
            widen(&op->experts->gate, &floats, &integers);
            widen(&op->experts->up, &floats, &integers);
            widen(&op->experts->down, &floats, &integers);
        }
    }
    tn_input_carve(x, a, columns, floats, integers);
    tn_experts_carve(x, a);
}

void tn_worker_carve(struct tn_worker *w, struct tn_arena *a)
{
    size_t panels = TN_PANEL_TOGETHER * sizeof(struct tn_panel);
    size_t floats = TN_FLOAT_SCRATCH * sizeof(float);
    w->tile[0] = tn_arena_take(a, TILE_FLOATS * sizeof(float));
    w->tile[1] = tn_arena_take(a, TILE_FLOATS * sizeof(float));
    w->scratch = tn_arena_take(a, panels > floats ? panels : floats);
}

// ---- columns -----------------------------------------------------------------------------------

struct preparing {
    struct tn_executor *x;
    const struct ir_op *norm; // NULL: none
    const float *in;
    const uint32_t *index;
    size_t groups; // of arranged floats in a whole chunk
};

static void quantise_tile(void *arg, size_t i, unsigned worker)
{
    const struct preparing *p = arg;
    struct tn_input *input = &p->x->input;
    const struct tn_integer_kernels *kernels = p->x->integers;
    size_t first = i * QUANTISED_TOGETHER, k = input->k;
    size_t count =
        input->columns - first < QUANTISED_TOGETHER ? input->columns - first : QUANTISED_TOGETHER;
    for (size_t c = first; c < first + count; c++) {
        struct tn_columns q = tn_columns_skip(&input->integers.x, c);
        // The buffers are this executor's own; the structure shows them read-only to kernels.
        int8_t *values = (int8_t *)(uintptr_t)q.values;
        const float *in = p->in + (p->index ? p->index[c] : c) * k;
        if (p->norm) {
            tn_norm_row(p->x->row_kernels, p->norm, in, k, p->x->workers[worker].tile[0]);
            in = p->x->workers[worker].tile[0];
        }
        kernels->quantise(q.kind, in, k, values, (float *)(uintptr_t)q.scales,
                          (int32_t *)(uintptr_t)q.sums);
        if (kernels->arrange) {
            kernels->arrange(values, k, (uint8_t *)(uintptr_t)q.arranged);
        }
    }
    if (kernels->multiply) {
        tn_panel_columns_fill(&input->integers, first, count);
    }
}

// The chunk that begins at column `first`.
static struct tn_float_columns float_chunk(const struct tn_input *input, size_t first)
{
    struct tn_float_columns c = input->floats;
    c.floats += first * input->k;
    c.arranged = c.arranged ? c.arranged + first * input->k : NULL;
    c.columns = input->columns - first < input->chunk ? input->columns - first : input->chunk;
    return c;
}

static void arrange_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct preparing *p = arg;
    const struct tn_float_kernels *kernels = p->x->floats;
    struct tn_float_columns chunk = float_chunk(&p->x->input, i / p->groups * p->x->input.chunk);
    if (i % p->groups < tn_float_groups(kernels, chunk.columns)) {
        kernels->arrange(&chunk, i % p->groups, (float *)(uintptr_t)chunk.arranged);
    }
}

// Columns of one tile: few enough for the tile's memory and time.
static size_t chunk_of(size_t columns, size_t k)
{
    size_t most = WORK_MOST / (32 * k), chunk = TILE_COLUMNS_MOST;
    while (chunk > 64 && chunk > most) {
        chunk /= 2;
    }
    if (columns <= chunk) {
        return columns;
    }
    size_t chunks = (columns + chunk - 1) / chunk;
    return (columns + chunks - 1) / chunks;
}

void tn_prepare_input(struct tn_executor *x, const struct ir_op *norm, const float *in,
                      const uint32_t *index, size_t columns, size_t k, uint32_t type)
{
    struct tn_pool *pool = x->options.pool;
    struct tn_input *input = &x->input;
    struct preparing p = {.x = x, .norm = norm, .in = in, .index = index};
    input->kind = tn_columns_kind_of(type);
    input->columns = columns;
    input->k = k;
    input->chunk = chunk_of(columns, k);
    if (input->kind != TN_COLUMNS_FLOAT) {
        input->integers.x.kind = input->kind;
        input->integers.x.k = k;
        pool->run(pool, quantise_tile, &p, (columns + QUANTISED_TOGETHER - 1) / QUANTISED_TOGETHER);
        return;
    }
    bool arranged = columns > x->floats->group;
    input->floats = (struct tn_float_columns){
        .floats = in, .arranged = arranged ? x->arranged : NULL, .columns = columns, .k = k};
    if (arranged) {
        p.groups = tn_float_groups(x->floats, input->chunk);
        pool->run(pool, arrange_tile, &p, (columns + input->chunk - 1) / input->chunk * p.groups);
    }
}

// ---- tiles -------------------------------------------------------------------------------------

static void multiply_floats(const struct tn_executor *x, unsigned worker, const struct tn_tile *t,
                            const uint8_t *w)
{
    const struct tn_input *input = &x->input;
    struct tn_float_columns c = float_chunk(input, t->column / input->chunk * input->chunk);
    if (c.columns != t->columns || t->column % input->chunk) { // a part of a chunk: as it is
        c = (struct tn_float_columns){
            .floats = input->floats.floats + t->column * c.k, .columns = t->columns, .k = c.k};
    }
    x->floats->multiply(t->matrix->type, w, t->matrix->row_bytes, t->rows, &c, t->out, t->stride,
                        (float *)x->workers[worker].scratch);
}

void tn_multiply_tile(const struct tn_executor *x, unsigned worker, const struct tn_tile *t)
{
    const struct ir_matrix *m = t->matrix;
    const uint8_t *w = m->data + t->row * m->row_bytes;
    if (x->input.kind == TN_COLUMNS_FLOAT) {
        multiply_floats(x, worker, t, w);
    } else {
        struct tn_panel_columns c = tn_panel_columns_skip(&x->input.integers, t->column);
        if (x->integers->multiply && t->columns >= TN_PANEL_COLUMNS) {
            x->integers->multiply(&(struct tn_panel_work){.type = m->type,
                                                          .w = w,
                                                          .row_bytes = m->row_bytes,
                                                          .rows = t->rows,
                                                          .ahead = t->ahead * m->row_bytes,
                                                          .x = &c,
                                                          .columns = t->columns,
                                                          .scratch = x->workers[worker].scratch,
                                                          .out = t->out,
                                                          .out_stride = t->stride,
                                                          .done = t->done,
                                                          .arg = t->arg});
            return;
        }
        tn_row_product_of(x->options.isa, m->type)(w, m->row_bytes, t->rows, &c.x, t->columns,
                                                   t->out, t->stride);
    }
    if (t->done) {
        t->done(t->arg, 0, t->rows, 0, t->columns);
    }
}

size_t tn_rows_per_tile(const struct tn_executor *x, size_t rows)
{
    const struct tn_input *input = &x->input;
    size_t least = input->chunk < TN_PANEL_COLUMNS ? 16 : 32, best = TILE_ROWS_MOST;
    size_t work = (x->options.isa == TN_ISA_SCALAR ? 1u << 20 : 1u << 23);
    while (best > least &&
           (best * input->chunk > TILE_FLOATS || best * input->chunk * input->k > work ||
            rows / best < 4 * (size_t)x->options.pool->width)) {
        best /= 2;
    }
    return best;
}
