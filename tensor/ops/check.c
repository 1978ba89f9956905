// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a description makes sense: each tensor by itself, the order of nodes, and then, in
// check_nodes.c, what each kind of node wants of its tensors.
#include "tensor/ops/ops_private.h"

#include <errno.h>
#include <math.h>

// ---- tensors
// -------------------------------------------------------------------------------------

static int check_tensor(struct ops_tensor *t, uint32_t index, const struct ops_message *m)
{
    const struct tn_type_info *info = tn_type_info(t->type);
    if (!info->name || (!info->computable && t->type != TN_I32)) {
        return ops_fail(m, "ops: tensor %u: type %u is not supported", index, t->type);
    }
    if (t->role > TN_OPS_TEMPORARY) {
        return ops_fail(m, "ops: tensor %u: no role %u", index, t->role);
    }
    t->values = 1;
    for (int i = 0; i < 4; i++) {
        if (t->shape[i] == 0 || t->shape[i] > TN_OPS_VALUES_MOST / t->values) {
            return ops_fail(m,
                            "ops: tensor %u: 1 to 4 dimensions of at least 1 are expected, ones "
                            "beyond `dims` 0 or 1, and at most %llu values",
                            index, (unsigned long long)TN_OPS_VALUES_MOST);
        }
        t->values *= t->shape[i];
    }
    t->rows = t->values / t->shape[0];
    t->row_bytes = tn_row_bytes(t->type, t->shape[0]);
    if (t->row_bytes == 0) {
        return ops_fail(m, "ops: tensor %u: rows of %llu values are no whole blocks of %s", index,
                        (unsigned long long)t->shape[0], info->name);
    }
    if (t->type & TN_PACKED) {
        if (t->rows != t->shape[1]) {
            return ops_fail(m, "ops: tensor %u: packed tensors have two dimensions", index);
        }
        t->bytes = t->row_bytes * ((t->rows + 15) & ~(uint64_t)15);
    } else {
        t->bytes = t->row_bytes * t->rows;
    }
    return 0;
}

// ---- nodes and their order
// -------------------------------------------------------------------------

static const struct {
    const char *name;
    uint8_t needed, most; // inputs
} kinds[TN_OPS_KIND_LIMIT] = {
    [TN_OPS_MATMUL] = {"MATMUL", 2, 4},
    [TN_OPS_ATTENTION] = {"ATTENTION", 3, 3},
    [TN_OPS_SOFTMAX] = {"SOFTMAX", 1, 1},
    [TN_OPS_RMS_NORM] = {"RMS_NORM", 1, 2},
    [TN_OPS_LAYER_NORM] = {"LAYER_NORM", 1, 3},
    [TN_OPS_ADD] = {"ADD", 2, 2},
    [TN_OPS_SUB] = {"SUB", 2, 2},
    [TN_OPS_MUL] = {"MUL", 2, 2},
    [TN_OPS_DIV] = {"DIV", 2, 2},
    [TN_OPS_SCALE] = {"SCALE", 1, 1},
    [TN_OPS_SILU] = {"SILU", 1, 1},
    [TN_OPS_GELU] = {"GELU", 1, 1},
    [TN_OPS_GELU_ERF] = {"GELU_ERF", 1, 1},
    [TN_OPS_RELU] = {"RELU", 1, 1},
    [TN_OPS_SIGMOID] = {"SIGMOID", 1, 1},
    [TN_OPS_TANH] = {"TANH", 1, 1},
    [TN_OPS_GATE] = {"GATE", 2, 2},
    [TN_OPS_ROPE] = {"ROPE", 2, 3},
    [TN_OPS_EMBED] = {"EMBED", 2, 2},
    [TN_OPS_TRANSPOSE] = {"TRANSPOSE", 1, 1},
    [TN_OPS_RESHAPE] = {"RESHAPE", 1, 1},
    [TN_OPS_CONCAT] = {"CONCAT", 1, 4},
    [TN_OPS_SLICE] = {"SLICE", 1, 1},
    [TN_OPS_CAST] = {"CAST", 1, 1},
    [TN_OPS_REDUCE_SUM] = {"REDUCE_SUM", 1, 1},
    [TN_OPS_REDUCE_MEAN] = {"REDUCE_MEAN", 1, 1},
    [TN_OPS_REDUCE_MAX] = {"REDUCE_MAX", 1, 1},
};

const char *ops_kind_name(uint32_t kind)
{
    return kind < TN_OPS_KIND_LIMIT && kinds[kind].name ? kinds[kind].name : "?";
}

static bool is_written(const struct ops_tensor *t)
{
    return t->role == TN_OPS_OUTPUT || t->role == TN_OPS_TEMPORARY;
}

static int check_inputs(const struct tn_ops *o, uint32_t index, const struct ops_message *m)
{
    const struct tn_ops_node *n = &o->nodes[index];
    const char *name = ops_kind_name(n->kind);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t in = n->in[i];
        if (in == TN_OPS_NONE) {
            if (i < kinds[n->kind].needed) {
                return ops_fail(m, "ops: node %u (%s): in[%u] is missing", index, name, i);
            }
            continue;
        }
        if (i >= kinds[n->kind].most) {
            return ops_fail(m, "ops: node %u (%s): in[%u] must be none", index, name, i);
        }
        if (in >= o->tensor_count) {
            return ops_fail(m, "ops: node %u (%s): in[%u]: there is no tensor %u", index, name, i,
                            in);
        }
        if (is_written(&o->tensors[in]) && o->tensors[in].writer == TN_OPS_NONE) {
            return ops_fail(m, "ops: node %u (%s) reads tensor %u, which no earlier node writes",
                            index, name, in);
        }
    }
    return 0;
}

static int check_output(struct tn_ops *o, uint32_t index, const struct ops_message *m)
{
    const struct tn_ops_node *n = &o->nodes[index];
    const char *name = ops_kind_name(n->kind);
    if (n->out >= o->tensor_count) {
        return ops_fail(m, "ops: node %u (%s): out: there is no tensor %u", index, name, n->out);
    }
    struct ops_tensor *t = &o->tensors[n->out];
    if (!is_written(t)) {
        return ops_fail(m, "ops: node %u (%s) writes tensor %u, which is an %s", index, name,
                        n->out, t->role == TN_OPS_INPUT ? "input" : "unchangeable constant");
    }
    if (t->writer != TN_OPS_NONE) {
        return ops_fail(m, "ops: node %u (%s) writes tensor %u, which node %u writes already",
                        index, name, n->out, t->writer);
    }
    t->writer = index;
    return 0;
}

int ops_check(struct tn_ops *o, const struct ops_message *m)
{
    bool outputs = false;
    int rc = 0;
    for (uint32_t i = 0; i < o->tensor_count && !rc; i++) {
        rc = check_tensor(&o->tensors[i], i, m);
    }
    for (uint32_t i = 0; i < o->node_count && !rc; i++) {
        const struct tn_ops_node *n = &o->nodes[i];
        if (n->kind >= TN_OPS_KIND_LIMIT || !kinds[n->kind].name) {
            return ops_fail(m, "ops: node %u: there is no kind %u", i, n->kind);
        }
        for (int j = 0; j < 4; j++) {
            if (!isfinite(n->number[j])) {
                return ops_fail(m, "ops: node %u (%s): number[%d] is not finite", i,
                                ops_kind_name(n->kind), j);
            }
        }
        rc = check_inputs(o, i, m);
        rc = rc ? rc : check_output(o, i, m);
        rc = rc ? rc : ops_check_node(o, i, m);
    }
    for (uint32_t i = 0; i < o->tensor_count && !rc; i++) {
        const struct ops_tensor *t = &o->tensors[i];
        outputs |= t->role == TN_OPS_OUTPUT;
        if (t->role == TN_OPS_OUTPUT && t->writer == TN_OPS_NONE) {
            return ops_fail(m, "ops: tensor %u is an output, and no node writes it", i);
        }
    }
    if (!rc && !outputs) {
        return ops_fail(m, "ops: no tensor is an output");
    }
    return rc;
}
