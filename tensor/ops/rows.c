// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Nodes that take whole rows: softmax, norms, sums, means and maxima.
#include "tensor/ops/ops_private.h"

struct rows {
    float *out;
    const float *in, *weight, *bias;
};

static void run_softmax(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                        unsigned worker)
{
    (void)from, (void)worker;
    const struct rows *r = s->arg;
    s->o->kernels->softmax(r->out + row * count, r->in + row * count, s->node->number[0], count);
}

static void run_norm(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    (void)from, (void)worker;
    const struct rows *r = s->arg;
    const struct tn_row_kernels *k = s->o->x.row_kernels;
    float *out = r->out + row * count;
    const float *in = r->in + row * count;
    if (s->node->kind == TN_OPS_RMS_NORM) {
        k->rms_norm(out, in, r->weight, count, s->node->number[0]);
    } else {
        k->layer_norm(out, in, r->weight, r->bias, count, s->node->number[0]);
    }
}

static void run_reduce(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                       unsigned worker)
{
    (void)from, (void)worker;
    const struct rows *r = s->arg;
    const struct ops_kernels *k = s->o->kernels;
    const float *in = r->in + row * count;
    if (s->node->kind == TN_OPS_REDUCE_MAX) {
        r->out[row] = k->greatest(in, count);
    } else {
        float sum = k->sum(in, count);
        r->out[row] = s->node->kind == TN_OPS_REDUCE_MEAN ? sum / (float)count : sum;
    }
}

void ops_run_rows(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *in = &o->tensors[n->in[0]];
    bool normed = n->kind == TN_OPS_RMS_NORM || n->kind == TN_OPS_LAYER_NORM;
    struct rows r = {.out = ops_data(o, n->out), .in = ops_data(o, n->in[0])};
    if (normed) {
        r.weight = n->in[1] == TN_OPS_NONE ? o->ones : ops_data(o, n->in[1]);
        r.bias = n->in[2] == TN_OPS_NONE ? NULL : ops_data(o, n->in[2]);
    }
    struct ops_sweep s = {.o = o,
                          .node = n,
                          .arg = &r,
                          .run = normed                      ? run_norm
                                 : n->kind == TN_OPS_SOFTMAX ? run_softmax
                                                             : run_reduce,
                          .rows = in->rows,
                          .length = in->shape[0],
                          .piece = in->shape[0]};
    ops_sweep(&s, n->kind == TN_OPS_SOFTMAX ? 8 : 1);
}
