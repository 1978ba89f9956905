// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Drops what no output depends on, and lets products take over what follows them: the bias, the
// activation, the residual that is added. No bit changes: the same operations run on each value, in
// the same order, while it is in cache.
#include "tensor/ops/ops_private.h"

// Which tensors outputs depend on, and how many nodes that stay read each.
static void drop_unused(struct tn_ops *o)
{
    for (uint32_t i = 0; i < o->tensor_count; i++) {
        o->tensors[i].used = o->tensors[i].role == TN_OPS_OUTPUT;
        o->tensors[i].readers = 0;
    }
    for (uint32_t i = o->node_count; i-- > 0;) {
        struct tn_ops_node *n = &o->nodes[i];
        if (n->kind == OPS_REMOVED) {
            continue;
        }
        if (!o->tensors[n->out].used) {
            n->kind = OPS_REMOVED;
            continue;
        }
        for (int j = 0; j < 4; j++) {
            if (n->in[j] != TN_OPS_NONE) {
                o->tensors[n->in[j]].used = true;
                o->tensors[n->in[j]].readers++;
            }
        }
    }
}

static uint32_t activation_of(uint32_t kind)
{
    switch (kind) {
    case TN_OPS_SILU:
        return TN_OPS_ACT_SILU;
    case TN_OPS_GELU:
        return TN_OPS_ACT_GELU;
    case TN_OPS_GELU_ERF:
        return TN_OPS_ACT_GELU_ERF;
    case TN_OPS_RELU:
        return TN_OPS_ACT_RELU;
    case TN_OPS_SIGMOID:
        return TN_OPS_ACT_SIGMOID;
    case TN_OPS_TANH:
        return TN_OPS_ACT_TANH;
    default:
        return TN_OPS_ACT_NONE;
    }
}

// The product that alone makes `tensor`, which nobody else wants; NULL: none.
static struct tn_ops_node *product_of(struct tn_ops *o, uint32_t tensor)
{
    const struct ops_tensor *t = &o->tensors[tensor];
    if (t->role != TN_OPS_TEMPORARY || t->readers != 1) {
        return NULL;
    }
    struct tn_ops_node *n = &o->nodes[t->writer];
    return n->kind == TN_OPS_MATMUL && n->in[3] == TN_OPS_NONE ? n : NULL;
}

static bool is_vector(const struct ops_tensor *t)
{
    return t->values == t->shape[0];
}

// A sum as the last step of the product that makes one of its sides.
static bool take_sum(struct tn_ops *o, const struct tn_ops_node *sum, struct tn_ops_node *product,
                     uint32_t other)
{
    const struct ops_tensor *made = &o->tensors[product->out], *added = &o->tensors[other];
    if (added->shape[0] != made->shape[0] || other == product->out) {
        return false;
    }
    if (is_vector(added) && product->in[2] == TN_OPS_NONE &&
        product->integer[0] == TN_OPS_ACT_NONE) {
        product->in[2] = other;
        return true;
    }
    if (added->values == made->values && o->tensors[sum->out].values == made->values) {
        product->in[3] = other;
        return true;
    }
    return false;
}

static bool take_over(struct tn_ops *o, const struct tn_ops_node *n, struct tn_ops_node *product,
                      int side)
{
    if (n->kind == TN_OPS_ADD) {
        // As the second side it may have been repeated.
        return o->tensors[n->in[0]].values == o->tensors[product->out].values &&
               take_sum(o, n, product, n->in[1 - side]);
    }
    uint32_t activation = activation_of(n->kind);
    if (activation == TN_OPS_ACT_NONE || product->integer[0] != TN_OPS_ACT_NONE) {
        return false;
    }
    product->integer[0] = activation;
    return true;
}

void ops_simplify(struct tn_ops *o)
{
    drop_unused(o);
    for (uint32_t i = 0; i < o->node_count; i++) {
        struct tn_ops_node *n = &o->nodes[i];
        int sides = n->kind == TN_OPS_ADD ? 2 : activation_of(n->kind) ? 1 : 0;
        for (int side = 0; side < sides; side++) {
            struct tn_ops_node *product = product_of(o, n->in[side]);
            if (product && take_over(o, n, product, side)) {
                // It runs where its last step stood: all it reads is there by then.
                uint32_t out = n->out;
                *n = *product;
                n->out = out;
                product->kind = OPS_REMOVED;
                break;
            }
        }
    }
    drop_unused(o);
}
