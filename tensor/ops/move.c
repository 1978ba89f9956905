// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Nodes that move values (transpose, reshape, concat, slice) and the one that changes their type.
#include "tensor/ops/ops_private.h"

#include "tensor/half.h"

#include <string.h>

// A box of values from one place to another; steps are in values.
struct move {
    uint8_t *out;
    const uint8_t *in;
    uint64_t shape[4], out_step[4], in_step[4];
    size_t bytes; // of a value
};

static void steps_of(const struct ops_tensor *t, uint64_t step[4])
{
    step[0] = 1;
    for (int i = 1; i < 4; i++) {
        step[i] = step[i - 1] * t->shape[i - 1];
    }
}

// Values apart from each other to values that lie together.
static void gather(const struct move *m, uint8_t *out, const uint8_t *in, uint64_t count)
{
    uint64_t step = m->in_step[0] * m->bytes;
    if (m->bytes == 4) {
        for (uint64_t i = 0; i < count; i++, in += step) {
            memcpy(out + 4 * i, in, 4);
        }
    } else {
        for (uint64_t i = 0; i < count; i++, in += step) {
            memcpy(out + 2 * i, in, 2);
        }
    }
}

static void run_move(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    (void)worker;
    const struct move *m = s->arg;
    uint64_t at[3] = {row % m->shape[1], row / m->shape[1] % m->shape[2],
                      row / m->shape[1] / m->shape[2]};
    uint64_t out = from, in = from * m->in_step[0];
    for (int i = 0; i < 3; i++) {
        out += at[i] * m->out_step[i + 1];
        in += at[i] * m->in_step[i + 1];
    }
    if (m->in_step[0] == 1) { // memory that callers bind may overlap
        memmove(m->out + out * m->bytes, m->in + in * m->bytes, count * m->bytes);
    } else {
        gather(m, m->out + out * m->bytes, m->in + in * m->bytes, count);
    }
}

static void sweep_move(struct tn_ops *o, const struct tn_ops_node *n, const struct move *m)
{
    struct ops_sweep s = {.o = o,
                          .node = n,
                          .arg = m,
                          .run = run_move,
                          .rows = m->shape[1] * m->shape[2] * m->shape[3],
                          .length = m->shape[0],
                          .piece = OPS_TILE_FLOATS};
    ops_sweep(&s, 1);
}

static void run_concat(struct tn_ops *o, const struct tn_ops_node *n, struct move *m)
{
    uint8_t *out = m->out;
    for (int i = 0; i < 4 && n->in[i] != TN_OPS_NONE && !ops_stopped(o); i++) {
        const struct ops_tensor *in = &o->tensors[n->in[i]];
        m->in = ops_data(o, n->in[i]);
        m->out = out;
        memcpy(m->shape, in->shape, sizeof m->shape);
        steps_of(in, m->in_step);
        sweep_move(o, n, m);
        out += in->shape[n->integer[0]] * m->out_step[n->integer[0]] * m->bytes;
    }
}

void ops_run_move(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *in = &o->tensors[n->in[0]], *out = &o->tensors[n->out];
    struct move m = {.out = ops_data(o, n->out),
                     .in = ops_data(o, n->in[0]),
                     .bytes = tn_type_info(in->type)->block_bytes};
    uint64_t step[4];
    steps_of(out, m.out_step);
    steps_of(in, step);
    memcpy(m.shape, out->shape, sizeof m.shape);
    memcpy(m.in_step, step, sizeof m.in_step);
    switch (n->kind) {
    case TN_OPS_CONCAT:
        run_concat(o, n, &m);
        return;
    case TN_OPS_SLICE:
        m.in += n->integer[1] * step[n->integer[0]] * m.bytes;
        break;
    case TN_OPS_TRANSPOSE:
        for (int i = 0; i < 4; i++) {
            m.in_step[i] = step[n->integer[i]];
        }
        break;
    default: // as one row
        m.shape[0] = out->values;
        m.shape[1] = m.shape[2] = m.shape[3] = 1;
    }
    sweep_move(o, n, &m);
}

// ---- types
// ---------------------------------------------------------------------------------------

struct cast {
    const struct ops_tensor *in, *out;
    const uint8_t *from;
    uint8_t *to;
};

static void run_cast(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    enum { PART = 256 }; // a multiple of every block
    (void)from, (void)worker;
    const struct cast *c = s->arg;
    const uint8_t *in = c->from + row * c->in->row_bytes;
    uint8_t *out = c->to + row * c->out->row_bytes;
    float part[PART];
    uint16_t halves[PART];
    for (uint64_t i = 0; i < count; i += PART) {
        size_t some = count - i < PART ? (size_t)(count - i) : PART;
        tn_dequantise_row(c->in->type, in, some, part);
        in += tn_row_bytes(c->in->type, some);
        if (c->out->type == TN_F32) {
            memcpy(out, part, some * sizeof *part);
            out += some * sizeof *part;
            continue;
        }
        for (size_t j = 0; j < some; j++) {
            halves[j] = c->out->type == TN_F16 ? tn_f32_to_f16(part[j]) : tn_f32_to_bf16(part[j]);
        }
        memcpy(out, halves, some * sizeof *halves);
        out += some * sizeof *halves;
    }
}

void ops_run_cast(struct tn_ops *o, const struct tn_ops_node *n)
{
    struct cast c = {.in = &o->tensors[n->in[0]],
                     .out = &o->tensors[n->out],
                     .from = ops_data(o, n->in[0]),
                     .to = ops_data(o, n->out)};
    struct ops_sweep s = {.o = o,
                          .node = n,
                          .arg = &c,
                          .run = run_cast,
                          .rows = c.in->rows,
                          .length = c.in->shape[0],
                          .piece = c.in->shape[0]};
    ops_sweep(&s, 4);
}
