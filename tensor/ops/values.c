// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Nodes that work on each value by itself: sums and the like with repeated sides, activations,
// gates, scaling.
#include "tensor/ops/ops_private.h"

struct values {
    float *out;
    const float *a, *b;
    uint32_t activation;
    // Of in[1], in values: how far a step in each of the last three dimensions goes, 0 where it is
    // repeated; and what the rows of in[0] count in.
    uint64_t step[3], shape[3];
    bool one; // in[1] has one value a row
};

static void run_pair(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    (void)worker;
    const struct values *v = s->arg;
    uint64_t i1 = row % v->shape[0], i2 = row / v->shape[0] % v->shape[1];
    uint64_t i3 = row / v->shape[0] / v->shape[1];
    const float *b = v->b + i1 * v->step[0] + i2 * v->step[1] + i3 * v->step[2];
    uint64_t at = row * s->length + from;
    s->o->kernels->combine(s->node->kind, v->out + at, v->a + at, v->one ? b : b + from, v->one,
                           count);
}

static void run_gate(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    (void)row, (void)worker;
    const struct values *v = s->arg;
    s->o->kernels->gate(v->activation, v->out + from, v->a + from, v->b + from, count);
}

static void run_scale(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                      unsigned worker)
{
    (void)row, (void)worker;
    const struct values *v = s->arg;
    s->o->kernels->scale(v->out + from, v->a + from, s->node->number[0], s->node->number[1], count);
}

static void run_activate(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                         unsigned worker)
{
    (void)row, (void)worker;
    const struct values *v = s->arg;
    s->o->kernels->activate(v->activation, v->out + from, v->a + from, count);
}

static uint32_t activation_of(const struct tn_ops_node *n)
{
    // Kinds and activations are numbered in the same order.
    _Static_assert(TN_OPS_TANH - TN_OPS_SILU == TN_OPS_ACT_TANH - TN_OPS_ACT_SILU &&
                       TN_OPS_RELU - TN_OPS_SILU == TN_OPS_ACT_RELU - TN_OPS_ACT_SILU,
                   "activations out of step");
    return n->kind == TN_OPS_GATE ? n->integer[0] : n->kind - TN_OPS_SILU + TN_OPS_ACT_SILU;
}

void ops_run_values(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *a = &o->tensors[n->in[0]];
    struct values v = {.out = ops_data(o, n->out), .a = ops_data(o, n->in[0])};
    struct ops_sweep s = {
        .o = o, .node = n, .arg = &v, .rows = 1, .length = a->values, .piece = OPS_TILE_FLOATS};
    if (n->kind == TN_OPS_SCALE) {
        s.run = run_scale;
        ops_sweep(&s, 1);
        return;
    }
    if (n->kind < TN_OPS_ADD || n->kind > TN_OPS_DIV) {
        v.activation = activation_of(n);
        v.b = n->kind == TN_OPS_GATE ? ops_data(o, n->in[1]) : NULL;
        s.run = n->kind == TN_OPS_GATE ? run_gate : run_activate;
        s.piece /= 8;
        ops_sweep(&s, 8);
        return;
    }
    const struct ops_tensor *b = &o->tensors[n->in[1]];
    v.b = ops_data(o, n->in[1]);
    v.one = b->values == 1;
    s.run = run_pair;
    if (b->values != a->values && b->values != 1) {
        uint64_t step = b->shape[0];
        for (int i = 0; i < 3; step *= b->shape[++i]) {
            v.shape[i] = a->shape[i + 1];
            v.step[i] = b->shape[i + 1] == 1 ? 0 : step;
        }
        v.one = b->shape[0] == 1;
        s.rows = a->rows;
        s.length = a->shape[0];
    } else { // one long row
        v.shape[0] = v.shape[1] = 1;
    }
    ops_sweep(&s, 1);
}
