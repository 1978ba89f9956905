// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Operations that take one row of a value at a time: embedding, norm, rope, KV, attention.
#include "tensor/cpu/executor.h"

#include "tensor/core/math.h"

#include <string.h>

struct row_work {
    struct tn_executor *x;
    const struct ir_op *op;
    const float *in, *in2;
    float *out;
    size_t columns;
};

static void embed_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    const struct ir_matrix *m = &w->op->matrix[0];
    tn_dequantise_row(m->type, m->data + (size_t)w->x->rows[i].token * m->row_bytes, w->columns,
                      w->out + i * w->columns);
}

static void norm_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    w->x->kernels->rms_norm(w->out + i * w->columns, w->in + i * w->columns, w->op->vector[0],
                            w->columns, w->op->number);
}

static void add_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    for (size_t c = i * w->columns; c < (i + 1) * w->columns; c++) {
        w->out[c] = w->in[c] + w->in2[c];
    }
}

static void silu_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    float *out = w->out + i * w->columns;
    if (w->out != w->in) {
        memcpy(out, w->in + i * w->columns, w->columns * sizeof *out);
    }
    w->x->kernels->silu_mul(out, w->in2 + i * w->columns, w->columns);
}

static void take_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    memcpy(w->out + i * w->columns, w->in + w->x->outputs[i] * w->columns,
           w->columns * sizeof *w->out);
}

static void rope_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    const struct ir_rope *rope = w->op->rope;
    size_t dim = w->x->graph->head_dim, pairs = rope->rotated / 2;
    const float *turn = w->x->turn + i * pairs * 2;
    float *out = w->out + i * w->columns;
    if (w->out != w->in) {
        memcpy(out, w->in + i * w->columns, w->columns * sizeof *out);
    }
    size_t first = rope->split_halves ? 1 : 2, second = rope->split_halves ? pairs : 1;
    for (size_t h = 0; h < w->op->heads; h++, out += dim) {
        for (size_t p = 0; p < pairs; p++) {
            float cosine = turn[2 * p], sine = turn[2 * p + 1];
            float a = out[p * first], b = out[p * first + second];
            out[p * first] = a * cosine - b * sine;
            out[p * first + second] = a * sine + b * cosine;
        }
    }
}

static void store_kv(struct tn_executor *x, uint8_t *to, const float *from, size_t dim)
{
    if (x->options.kv_type == TN_F16) {
        x->kernels->to_f16((uint16_t *)(void *)to, from, dim);
    } else {
        memcpy(to, from, dim * sizeof *from);
    }
}

static void kv_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    struct tn_executor *x = w->x;
    const struct tn_row *row = &x->rows[i];
    size_t dim = x->graph->head_dim, place = row->position % TN_KV_PAGE_TOKENS;
    size_t element = x->options.kv_type == TN_F16 ? 2 : 4;
    uint32_t page = x->sequences[row->sequence].kv_pages[row->position / TN_KV_PAGE_TOKENS];
    uint8_t *block = x->kv + w->op->layer * x->kv_layer_bytes + page * x->kv_page_bytes;
    for (size_t h = 0; h < x->graph->kv_heads; h++, block += x->kv_head_bytes) {
        size_t at = i * w->columns + h * dim;
        store_kv(x, block + place * dim * element, w->in + at, dim);
        store_kv(x, block + (TN_KV_PAGE_TOKENS + place) * dim * element, w->in2 + at, dim);
    }
}

// Tile i: row i / kv_heads, KV head i mod kv_heads.
static void attention_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    struct tn_executor *x = w->x;
    size_t kv_heads = x->graph->kv_heads, r = i / kv_heads, h = i % kv_heads;
    size_t group = x->graph->heads / kv_heads, at = r * w->columns + h * group * x->graph->head_dim;
    const struct tn_row *row = &x->rows[r];
    struct tn_attention a = {
        .q = w->in + at,
        .out = w->out + at,
        .kv = x->kv + w->op->layer * x->kv_layer_bytes + h * x->kv_head_bytes,
        .page_bytes = x->kv_page_bytes,
        .pages = x->sequences[row->sequence].kv_pages,
        .positions = row->position + 1,
        .dim = x->graph->head_dim,
        .group = (uint32_t)group,
        .kv_type = x->options.kv_type,
        .scale = w->op->attention.scale,
    };
    x->kernels->attention(&a);
}

static void turn_row(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    struct tn_executor *x = arg;
    const struct ir_rope *rope = &x->graph->rope;
    size_t pairs = rope->rotated / 2;
    float *turn = x->turn + i * pairs * 2;
    for (size_t p = 0; p < pairs; p++) {
        double sine, cosine;
        tn_sincos(x->rows[i].position * rope->frequency[p], &sine, &cosine);
        turn[2 * p] = (float)cosine;
        turn[2 * p + 1] = (float)sine;
    }
}

void tn_prepare_turns(struct tn_executor *x)
{
    x->options.pool->run(x->options.pool, turn_row, x, x->row_count);
}

void tn_run_rows(struct tn_executor *x, const struct ir_op *op)
{
    static void (*const tiles[])(void *, size_t, unsigned) = {
        [IR_EMBED] = embed_row,          [IR_RMS_NORM] = norm_row,     [IR_ADD] = add_row,
        [IR_GATE] = silu_row,        [IR_ROPE] = rope_row,         [IR_KV_STORE] = kv_row,
        [IR_ATTENTION] = attention_tile, [IR_TAKE_OUTPUTS] = take_row,
    };
    const struct ir_shape *values = x->graph->values;
    ir_value shaped = op->out ? op->out : op->in[0];
    struct row_work w = {.x = x,
                         .op = op,
                         .in = op->in[0] ? tn_value(x, op->in[0]) : NULL,
                         .in2 = op->in[1] ? tn_value(x, op->in[1]) : NULL,
                         .out = op->out ? tn_value(x, op->out) : NULL,
                         .columns = values[shaped].columns};
    size_t count = tn_rows_of(x, values[shaped].rows);
    if (op->kind == IR_ATTENTION) {
        count *= x->graph->kv_heads;
    }
    x->options.pool->run(x->options.pool, tiles[op->kind], &w, count);
}
