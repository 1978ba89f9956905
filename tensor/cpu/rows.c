// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Operations that take one row of a value at a time: embedding, norms, rope, sums, activations,
// pooling. Attention and the KV store: attention.c.
#include "tensor/cpu/executor.h"

#include "tensor/core/math.h"
#include "tensor/cpu/packed.h"

#include <string.h>

enum { TILE_FLOATS = 16384 }; // about what one tile of rows works on; less runs on the caller

struct row_work {
    struct tn_executor *x;
    const struct tn_row_kernels *k;
    const struct ir_op *op;
    const float *in, *in2;
    float *out;
    size_t columns, rows, rows_a_tile;
    void (*run)(const struct row_work *w, size_t row);
};

// ---- one row -----------------------------------------------------------------------------------

// A row of a packed matrix: its values stand sixteen rows apart (packed.h).
static void unpack_floats(const struct ir_matrix *m, size_t row, float *out)
{
    enum { PART = 64 };
    uint32_t type = m->type & ~(uint32_t)TN_PACKED;
    const struct tn_type_info *t = tn_type_info(type);
    const uint8_t *strip = m->data + row / 16 * 16 * m->row_bytes;
    size_t place = row % 16, bytes = t->block_bytes;
    if (t->block_values > 1) {
        uint8_t block[256]; // no block has more bytes than values
        for (size_t b = 0; b < m->columns / t->block_values; b++, out += t->block_values) {
            tn_unpack_block(type, strip, place, m->columns, b, block);
            tn_dequantise_row(type, block, t->block_values, out);
        }
        return;
    }
    for (size_t i = 0; i < m->columns; i += PART) {
        uint8_t part[PART * sizeof(float)];
        size_t some = m->columns - i < PART ? m->columns - i : PART;
        for (size_t j = 0; j < some; j++) {
            memcpy(part + j * bytes, strip + ((i + j) * 16 + place) * bytes, bytes);
        }
        tn_dequantise_row(type, part, some, out + i);
    }
}

static void embed_row(const struct row_work *w, size_t i)
{
    const struct ir_matrix *m = &w->op->matrix[0];
    float *out = w->out + i * w->columns;
    size_t token = (size_t)w->x->rows[i].token;
    if (m->type & TN_PACKED) {
        unpack_floats(m, token, out);
    } else {
        tn_dequantise_row(m->type, m->data + token * m->row_bytes, w->columns, out);
    }
    if (w->op->number != 1) {
        w->k->scale(out, w->columns, w->op->number);
    }
}

static void add_position_row(const struct row_work *w, size_t i)
{
    enum { PART = 256 }; // a multiple of every block
    const struct ir_matrix *m = &w->op->matrix[0];
    const uint8_t *row = m->data + (size_t)w->x->rows[i].position * m->row_bytes;
    float part[PART];
    for (size_t c = 0; c < w->columns; c += PART) {
        size_t some = w->columns - c < PART ? w->columns - c : PART, at = i * w->columns + c;
        tn_dequantise_row(m->type, row, some, part);
        w->k->add(w->out + at, w->in + at, part, some);
        row += tn_row_bytes(m->type, some);
    }
}

static void add_vector_row(const struct row_work *w, size_t i)
{
    size_t at = i * w->columns;
    w->k->add(w->out + at, w->in + at, w->op->vector[0], w->columns);
}

void tn_norm_row(const struct tn_row_kernels *k, const struct ir_op *norm, const float *in,
                 size_t n, float *out)
{
    if (norm->kind == IR_LAYER_NORM) {
        k->layer_norm(out, in, norm->vector[0], norm->vector[1], n, norm->number);
        return;
    }
    size_t heads = norm->heads ? norm->heads : 1, part = n / heads;
    for (size_t h = 0; h < heads; h++) {
        k->rms_norm(out + h * part, in + h * part, norm->vector[0], part, norm->number);
    }
}

static void norm_row(const struct row_work *w, size_t i)
{
    size_t at = i * w->columns;
    tn_norm_row(w->k, w->op, w->in + at, w->columns, w->out + at);
}

static void add_row(const struct row_work *w, size_t i)
{
    size_t at = i * w->columns;
    w->k->add(w->out + at, w->in + at, w->in2 + at, w->columns);
}

// Brings a row to where the result stands, for operations that work in place.
static float *moved(const struct row_work *w, size_t i)
{
    float *out = w->out + i * w->columns;
    if (w->out != w->in) {
        memcpy(out, w->in + i * w->columns, w->columns * sizeof *out);
    }
    return out;
}

static void activate_row(const struct row_work *w, size_t i)
{
    w->k->activate(w->op->activation, moved(w, i), w->columns);
}

static void gate_row(const struct row_work *w, size_t i)
{
    w->k->gate(w->op->activation, moved(w, i), w->in2 + i * w->columns, w->columns);
}

static void rope_row(const struct row_work *w, size_t i)
{
    const struct ir_rope *rope = w->op->rope;
    size_t dim = w->columns / w->op->heads, pairs = rope->rotated / 2;
    const float *turns = tn_turns(w->x, rope, i);
    float *out = moved(w, i);
    for (size_t h = 0; h < w->op->heads; h++, out += dim) {
        (rope->split_halves ? w->k->turn_halves : w->k->turn_neighbours)(out, out, turns, pairs);
    }
}

static void take_row(const struct row_work *w, size_t i)
{
    memcpy(w->out + i * w->columns, w->in + w->x->outputs[i] * w->columns,
           w->columns * sizeof *w->out);
}

// ---- pooling -----------------------------------------------------------------------------------

// Row i, if it is the first one of its sequence: pools them all.
static void pool_row(const struct row_work *w, size_t i)
{
    const struct tn_executor *x = w->x;
    uint32_t sequence = x->rows[i].sequence;
    const struct tn_step_sequence *s = &x->sequences[sequence];
    if ((i > 0 && x->rows[i - 1].sequence == sequence) || !s->embedding) {
        return;
    }
    const float *in = w->in + i * w->columns;
    size_t count = s->token_count, bytes = w->columns * sizeof *in;
    switch (w->op->pooling) {
    case IR_POOL_NONE:
        memcpy(s->embedding, in, count * bytes);
        break;
    case IR_POOL_FIRST:
        memcpy(s->embedding, in, bytes);
        break;
    case IR_POOL_LAST:
        memcpy(s->embedding, in + (count - 1) * w->columns, bytes);
        break;
    case IR_POOL_MEAN:
        memcpy(s->embedding, in, bytes);
        for (size_t r = 1; r < count; r++) {
            w->k->add(s->embedding, s->embedding, in + r * w->columns, w->columns);
        }
        w->k->scale(s->embedding, w->columns, 1.0f / (float)count);
        break;
    }
}

// ---- the table of turns ------------------------------------------------------------------------

static void turn_row(const struct row_work *w, size_t i)
{
    const struct tn_executor *x = w->x;
    for (uint32_t r = 0; r < x->graph->rope_count; r++) {
        const struct ir_rope *rope = x->graph->ropes[r];
        const double *frequency = ir_rope_frequency(rope, x->options.context);
        float *turns = tn_turns(x, rope, i);
        size_t pairs = rope->rotated / 2;
        for (size_t p = 0; p < pairs; p++) {
            double s, c;
            tn_sincos(x->rows[i].position * frequency[p], &s, &c);
            float sine = (float)(s * rope->magnitude), cosine = (float)(c * rope->magnitude);
            if (rope->split_halves) {
                turns[p] = cosine;
                turns[pairs + p] = sine;
            } else {
                turns[2 * p] = turns[2 * p + 1] = cosine;
                turns[2 * (pairs + p)] = -sine;
                turns[2 * (pairs + p) + 1] = sine;
            }
        }
    }
}

// ---- all rows ----------------------------------------------------------------------------------

static void row_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct row_work *w = arg;
    size_t end = (i + 1) * w->rows_a_tile;
    for (size_t row = i * w->rows_a_tile; row < w->rows && row < end; row++) {
        w->run(w, row);
    }
}

// `floats`: what a row works on.
static void run_all(struct row_work *w, size_t floats)
{
    struct tn_pool *pool = w->x->options.pool;
    w->rows_a_tile = floats < TILE_FLOATS ? TILE_FLOATS / floats : 1;
    size_t tiles = (w->rows + w->rows_a_tile - 1) / w->rows_a_tile;
    if (tiles > 1) {
        pool->run(pool, row_tile, w, tiles);
    } else if (tiles) {
        row_tile(w, 0, 0);
    }
}

void tn_prepare_turns(struct tn_executor *x)
{
    struct row_work w = {.x = x, .k = x->row_kernels, .rows = x->row_count, .run = turn_row};
    if (x->graph->rope_count) {
        run_all(&w, 16 * (size_t)x->graph->turn_floats); // sine and cosine cost that much more
    }
}

void tn_run_rows(struct tn_executor *x, const struct ir_op *op)
{
    static void (*const run[IR_KIND_COUNT])(const struct row_work *, size_t) = {
        [IR_EMBED] = embed_row,
        [IR_ADD_POSITION] = add_position_row,
        [IR_ADD_VECTOR] = add_vector_row,
        [IR_RMS_NORM] = norm_row,
        [IR_LAYER_NORM] = norm_row,
        [IR_ADD] = add_row,
        [IR_ACTIVATE] = activate_row,
        [IR_GATE] = gate_row,
        [IR_ROPE] = rope_row,
        [IR_TAKE_OUTPUTS] = take_row,
        [IR_POOL] = pool_row,
    };
    if (op->kind == IR_KV_STORE) {
        tn_run_kv_store(x, op);
        return;
    }
    if (op->kind == IR_ATTENTION) {
        tn_run_attention(x, op);
        return;
    }
    const struct ir_shape *values = x->graph->values;
    ir_value shaped = op->out ? op->out : op->in[0];
    struct row_work w = {.x = x,
                         .k = x->row_kernels,
                         .op = op,
                         .in = op->in[0] ? tn_value(x, op->in[0]) : NULL,
                         .in2 = op->in[1] ? tn_value(x, op->in[1]) : NULL,
                         .out = op->out ? tn_value(x, op->out) : NULL,
                         .columns = values[shaped].columns,
                         .rows = tn_rows_of(x, values[shaped].rows),
                         .run = run[op->kind]};
    run_all(&w, w.columns);
}
