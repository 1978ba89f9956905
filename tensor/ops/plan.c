// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where temporaries stand: each in the first gap that is large enough while it is needed. And how
// much work a node is.
#include "tensor/ops/ops_private.h"

#include <string.h>

// Temporaries that are in use, by offset.
struct placed {
    uint32_t tensors[TN_OPS_NODES_MOST];
    uint32_t count;
};

static uint64_t space_of(const struct ops_tensor *t)
{
    return (t->bytes + TN_ALIGN - 1) & ~(uint64_t)(TN_ALIGN - 1);
}

static void place(struct tn_ops *o, struct placed *p, uint32_t tensor)
{
    struct ops_tensor *t = &o->tensors[tensor];
    uint64_t offset = 0;
    uint32_t at = 0;
    for (; at < p->count; at++) {
        const struct ops_tensor *next = &o->tensors[p->tensors[at]];
        if (next->offset - offset >= space_of(t)) {
            break;
        }
        offset = next->offset + space_of(next);
    }
    memmove(&p->tensors[at + 1], &p->tensors[at], (p->count - at) * sizeof *p->tensors);
    p->tensors[at] = tensor;
    p->count++;
    t->offset = offset;
    uint64_t end = offset + space_of(t);
    o->temporary_bytes = end > o->temporary_bytes ? end : o->temporary_bytes;
}

static void forget_before(struct tn_ops *o, struct placed *p, uint32_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (o->tensors[p->tensors[i]].last >= node) {
            p->tensors[kept++] = p->tensors[i];
        }
    }
    p->count = kept;
}

void ops_plan(struct tn_ops *o)
{
    struct placed p = {.count = 0};
    for (uint32_t i = 0; i < o->node_count; i++) {
        for (int j = 0; j < 4 && o->nodes[i].kind != OPS_REMOVED; j++) {
            if (o->nodes[i].in[j] != TN_OPS_NONE) {
                o->tensors[o->nodes[i].in[j]].last = i;
            }
        }
    }
    for (uint32_t i = 0; i < o->node_count; i++) {
        const struct tn_ops_node *n = &o->nodes[i];
        if (n->kind != OPS_REMOVED && o->tensors[n->out].role == TN_OPS_TEMPORARY) {
            forget_before(o, &p, i);
            place(o, &p, n->out);
        }
    }
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

uint64_t ops_node_work(const struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *a = &o->tensors[n->in[0]], *out = &o->tensors[n->out];
    switch (n->kind) {
    case TN_OPS_MATMUL:
        return times(out->values, a->shape[0]);
    case TN_OPS_ATTENTION: {
        uint64_t keys = o->tensors[n->in[1]].shape[n->integer[0] & TN_OPS_ROWS_OUTER ? 2 : 1];
        return times(times(a->rows, keys), a->shape[0] + out->shape[0]);
    }
    case TN_OPS_SOFTMAX:
    case TN_OPS_SILU:
    case TN_OPS_GELU:
    case TN_OPS_GELU_ERF:
    case TN_OPS_SIGMOID:
    case TN_OPS_TANH:
    case TN_OPS_GATE:
    case TN_OPS_ROPE:
        return 8 * out->values;
    default:
        return out->values > a->values || n->kind == TN_OPS_EMBED ? out->values : a->values;
    }
}
