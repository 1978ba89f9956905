// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What each kind of node wants of its tensors' types and shapes and of its parameters.
#include "tensor/ops/ops_private.h"

#include <errno.h>
#include <stdio.h>

// The node under check.
struct check {
    const struct tn_ops *o;
    const struct tn_ops_node *n;
    const struct ops_tensor *in[4], *out; // in: NULL where there is none
    uint32_t index;
    const struct ops_message *m;
};

static const char *shape_text(const uint64_t shape[4], char text[96])
{
    snprintf(text, 96, "[%llu, %llu, %llu, %llu]", (unsigned long long)shape[0],
             (unsigned long long)shape[1], (unsigned long long)shape[2],
             (unsigned long long)shape[3]);
    return text;
}

static int want_type(const struct check *c, uint32_t tensor, uint32_t type)
{
    const struct ops_tensor *t = &c->o->tensors[tensor];
    return t->type == type
               ? 0
               : ops_fail(c->m, "ops: node %u (%s): tensor %u is %s%s, expected %s", c->index,
                          ops_kind_name(c->n->kind), tensor, t->type & TN_PACKED ? "packed " : "",
                          tn_type_info(t->type)->name, tn_type_info(type)->name);
}

static int want_shape(const struct check *c, uint32_t tensor, uint64_t s0, uint64_t s1, uint64_t s2,
                      uint64_t s3)
{
    const struct ops_tensor *t = &c->o->tensors[tensor];
    const uint64_t want[4] = {s0, s1, s2, s3};
    char is[96], expected[96];
    for (int i = 0; i < 4; i++) {
        if (t->shape[i] != want[i]) {
            return ops_fail(c->m, "ops: node %u (%s): tensor %u is %s, expected %s", c->index,
                            ops_kind_name(c->n->kind), tensor, shape_text(t->shape, is),
                            shape_text(want, expected));
        }
    }
    return 0;
}

static int want_shape_of(const struct check *c, uint32_t tensor, const struct ops_tensor *like)
{
    return want_shape(c, tensor, like->shape[0], like->shape[1], like->shape[2], like->shape[3]);
}

// in[i] is a vector of n floats, or none.
static int want_vector(const struct check *c, int i, uint64_t n)
{
    if (c->n->in[i] == TN_OPS_NONE) {
        return 0;
    }
    int rc = want_type(c, c->n->in[i], TN_F32);
    return rc ? rc : want_shape(c, c->n->in[i], n, 1, 1, 1);
}

static int bad(const struct check *c, const char *what, unsigned long long value)
{
    return ops_fail(c->m, "ops: node %u (%s): %s (%llu)", c->index, ops_kind_name(c->n->kind), what,
                    value);
}

// in[0] and out are floats, of one shape.
static int want_alike(const struct check *c)
{
    int rc = want_type(c, c->n->in[0], TN_F32);
    rc = rc ? rc : want_type(c, c->n->out, TN_F32);
    return rc ? rc : want_shape_of(c, c->n->out, c->in[0]);
}

static int want_short_rows(const struct check *c)
{
    return c->in[0]->shape[0] > TN_OPS_ROW_MOST
               ? bad(c, "rows have too many values", c->in[0]->shape[0])
               : 0;
}

static bool is_weight(const struct ops_tensor *t)
{
    return tn_type_info(t->type)->computable;
}

static int check_matmul(const struct check *c)
{
    const struct ops_tensor *x = c->in[0], *w = c->in[1];
    uint64_t k = x->shape[0];
    int rc = want_type(c, c->n->in[0], TN_F32);
    rc = rc ? rc : want_type(c, c->n->out, TN_F32);
    if (!rc && !is_weight(w)) {
        rc = bad(c, "in[1] has no type to multiply by", w->type);
    }
    if (!rc && k > TN_OPS_DEPTH_MOST) {
        rc = bad(c, "rows have too many values", k);
    }
    if (!rc && w->shape[1] > INT32_MAX) {
        rc = bad(c, "in[1] has too many rows", w->shape[1]);
    }
    rc = rc ? rc : want_shape(c, c->n->in[1], k, w->shape[1], 1, 1);
    rc = rc ? rc : want_shape(c, c->n->out, w->shape[1], x->shape[1], x->shape[2], x->shape[3]);
    rc = rc ? rc : want_vector(c, 2, w->shape[1]);
    if (!rc && c->in[3]) {
        rc = want_type(c, c->n->in[3], TN_F32);
        rc = rc ? rc : want_shape_of(c, c->n->in[3], c->out);
    }
    if (!rc && c->n->integer[0] >= TN_OPS_ACT_SWIGLU_OAI) {
        rc = bad(c, "integer[0] is no activation for it", c->n->integer[0]);
    }
    return rc;
}

static int check_attention(const struct check *c)
{
    const struct tn_ops_node *n = c->n;
    const int outer = n->integer[0] & TN_OPS_ROWS_OUTER ? 1 : 0;
    const uint64_t *q = c->in[0]->shape, *k = c->in[1]->shape, *v = c->in[2]->shape;
    const uint64_t rows = q[1 + outer], heads = q[2 - outer];
    const uint64_t keys = k[1 + outer], kv_heads = k[2 - outer];
    int rc = 0;
    for (int i = 0; i < 3 && !rc; i++) {
        rc = want_type(c, n->in[i], TN_F32);
        if (!rc && c->in[i]->shape[0] > TN_OPS_HEAD_MOST) {
            rc = bad(c, "heads have too many values", c->in[i]->shape[0]);
        }
        if (!rc && c->in[i]->shape[3] != 1) {
            rc = bad(c, "three dimensions are expected, the fourth is", c->in[i]->shape[3]);
        }
    }
    rc = rc ? rc : want_type(c, n->out, TN_F32);
    rc = rc ? rc : want_shape(c, n->in[1], q[0], k[1], k[2], 1);
    rc = rc ? rc : want_shape(c, n->in[2], v[0], k[1], k[2], 1);
    rc = rc ? rc : want_shape(c, n->out, v[0], q[1], q[2], 1);
    if (rc) {
        return rc;
    }
    if (n->integer[0] & ~(uint32_t)(TN_OPS_CAUSAL | TN_OPS_ROWS_OUTER)) {
        return bad(c, "integer[0] has unknown flags", n->integer[0]);
    }
    if (heads % kv_heads) {
        return bad(c, "kv heads do not divide the heads", kv_heads);
    }
    // Places are kept in 32 bits.
    if (keys > INT32_MAX || rows > INT32_MAX / (heads / kv_heads)) {
        return bad(c, "too many rows or keys", rows > keys ? rows : keys);
    }
    if ((n->integer[0] & TN_OPS_CAUSAL || n->integer[1]) && rows > keys) {
        return bad(c, "more rows than keys, which only queries that see all keys can have", rows);
    }
    return n->number[1] < 0 ? bad(c, "the soft cap (number[1]) is negative", 1) : 0;
}

static int check_norm(const struct check *c)
{
    int rc = want_alike(c);
    rc = rc ? rc : want_short_rows(c);
    rc = rc ? rc : want_vector(c, 1, c->in[0]->shape[0]);
    rc = rc ? rc : want_vector(c, 2, c->in[0]->shape[0]);
    return !rc && c->n->number[0] < 0 ? bad(c, "epsilon (number[0]) is negative", 1) : rc;
}

static int check_pair(const struct check *c)
{
    const uint64_t *a = c->in[0]->shape, *b = c->in[1]->shape;
    int rc = want_alike(c);
    rc = rc ? rc : want_type(c, c->n->in[1], TN_F32);
    return rc ? rc
              : want_shape(c, c->n->in[1], b[0] == 1 ? 1 : a[0], b[1] == 1 ? 1 : a[1],
                           b[2] == 1 ? 1 : a[2], b[3] == 1 ? 1 : a[3]);
}

static int check_gate(const struct check *c)
{
    int rc = want_alike(c);
    rc = rc ? rc : want_type(c, c->n->in[1], TN_F32);
    rc = rc ? rc : want_shape_of(c, c->n->in[1], c->in[0]);
    return !rc && c->n->integer[0] >= TN_OPS_ACT_LIMIT
               ? bad(c, "integer[0] is no activation", c->n->integer[0])
               : rc;
}

static int check_rope(const struct check *c)
{
    const struct tn_ops_node *n = c->n;
    const uint64_t *x = c->in[0]->shape;
    const uint64_t rotated = n->integer[1] ? n->integer[1] : x[0];
    int rc = want_alike(c);
    rc = rc ? rc : want_type(c, n->in[1], TN_I32);
    if (!rc && (x[0] > TN_OPS_HEAD_MOST || x[3] != 1)) {
        return bad(c, "in[0] must be [d, rows, heads], d up to 4096", x[0]);
    }
    if (!rc && x[n->integer[0] & TN_OPS_ROWS_OUTER ? 1 : 2] > TN_OPS_HEAD_MOST) {
        return bad(c, "too many heads", x[n->integer[0] & TN_OPS_ROWS_OUTER ? 1 : 2]);
    }
    if (!rc && (rotated % 2 || rotated > x[0])) {
        return bad(c, "integer[1] must be even and no more than a head's values", rotated);
    }
    if (!rc && n->integer[0] & ~(uint32_t)(TN_OPS_HALVES | TN_OPS_ROWS_OUTER)) {
        return bad(c, "integer[0] has unknown flags", n->integer[0]);
    }
    // Angles stay within what can be reduced.
    if (!rc && !(n->number[0] >= 1 && (n->number[1] == 0 || n->number[1] >= 1))) {
        return bad(c, "number[0], the base, must be at least 1, and number[1] too, or 0", 0);
    }
    rc = rc ? rc : want_shape(c, n->in[1], x[n->integer[0] & TN_OPS_ROWS_OUTER ? 2 : 1], 1, 1, 1);
    return rc ? rc : want_vector(c, 2, rotated / 2);
}

static int check_embed(const struct check *c)
{
    const struct ops_tensor *table = c->in[0];
    const uint64_t *ids = c->in[1]->shape;
    int rc = want_type(c, c->n->in[1], TN_I32);
    rc = rc ? rc : want_type(c, c->n->out, TN_F32);
    if (!rc && !is_weight(table)) {
        return bad(c, "in[0] has no type whose rows can be looked up", table->type);
    }
    if (!rc && table->shape[0] > TN_OPS_ROW_MOST) {
        return bad(c, "rows have too many values", table->shape[0]);
    }
    rc = rc ? rc : want_shape(c, c->n->in[0], table->shape[0], table->shape[1], 1, 1);
    rc = rc ? rc : want_shape(c, c->n->in[1], ids[0], ids[1], ids[2], 1);
    return rc ? rc : want_shape(c, c->n->out, table->shape[0], ids[0], ids[1], ids[2]);
}

// in[0] and out have elements that can be moved, of one type.
static int want_movable(const struct check *c)
{
    uint32_t type = c->in[0]->type;
    if (type != TN_F32 && type != TN_F16 && type != TN_BF16 && type != TN_I32) {
        return bad(c, "in[0] is not F32, F16, BF16 or I32", type);
    }
    return want_type(c, c->n->out, type);
}

static int check_transpose(const struct check *c)
{
    const uint32_t *axis = c->n->integer;
    const uint64_t *s = c->in[0]->shape;
    unsigned seen = 0;
    for (int i = 0; i < 4; i++) {
        seen |= axis[i] < 4 ? 1u << axis[i] : 0;
    }
    if (seen != 15) {
        return bad(c, "integer[0] to [3] are no order of the four dimensions", seen);
    }
    int rc = want_movable(c);
    return rc ? rc : want_shape(c, c->n->out, s[axis[0]], s[axis[1]], s[axis[2]], s[axis[3]]);
}

static int check_reshape(const struct check *c)
{
    int rc = want_movable(c);
    return !rc && c->out->values != c->in[0]->values
               ? bad(c, "out must have as many values as in[0]", c->in[0]->values)
               : rc;
}

static int check_concat(const struct check *c)
{
    uint32_t axis = c->n->integer[0];
    if (axis > 3) {
        return bad(c, "integer[0] is no dimension", axis);
    }
    uint64_t want[4] = {c->in[0]->shape[0], c->in[0]->shape[1], c->in[0]->shape[2],
                        c->in[0]->shape[3]};
    uint64_t length = 0;
    int rc = want_movable(c);
    for (int i = 0; i < 4 && !rc; i++) {
        if (!c->in[i]) {
            continue;
        }
        if (i && !c->in[i - 1]) {
            return bad(c, "inputs are left out before in", (unsigned)i);
        }
        want[axis] = c->in[i]->shape[axis];
        length += want[axis];
        rc = want_type(c, c->n->in[i], c->in[0]->type);
        rc = rc ? rc : want_shape(c, c->n->in[i], want[0], want[1], want[2], want[3]);
    }
    want[axis] = length;
    return rc ? rc : want_shape(c, c->n->out, want[0], want[1], want[2], want[3]);
}

static int check_slice(const struct check *c)
{
    uint32_t axis = c->n->integer[0];
    const uint64_t *s = c->in[0]->shape;
    if (axis > 3) {
        return bad(c, "integer[0] is no dimension", axis);
    }
    uint64_t from = c->n->integer[1], length = c->out->shape[axis];
    if (from >= s[axis] || length > s[axis] - from) {
        return bad(c, "the slice ends beyond in[0], whose dimension has", s[axis]);
    }
    uint64_t want[4] = {s[0], s[1], s[2], s[3]};
    want[axis] = length;
    int rc = want_movable(c);
    return rc ? rc : want_shape(c, c->n->out, want[0], want[1], want[2], want[3]);
}

static int check_cast(const struct check *c)
{
    uint32_t to = c->out->type;
    if (!is_weight(c->in[0]) || c->in[0]->type & TN_PACKED) {
        return bad(c, "in[0] has no type that can be cast", c->in[0]->type);
    }
    if (to != TN_F32 && to != TN_F16 && to != TN_BF16) {
        return bad(c, "out is not F32, F16 or BF16", to);
    }
    int rc = want_shape_of(c, c->n->out, c->in[0]);
    return rc ? rc : want_short_rows(c);
}

static int check_reduce(const struct check *c)
{
    const uint64_t *s = c->in[0]->shape;
    int rc = want_type(c, c->n->in[0], TN_F32);
    rc = rc ? rc : want_type(c, c->n->out, TN_F32);
    rc = rc ? rc : want_short_rows(c);
    return rc ? rc : want_shape(c, c->n->out, 1, s[1], s[2], s[3]);
}

static int check_softmax(const struct check *c)
{
    int rc = want_alike(c);
    return rc ? rc : want_short_rows(c);
}

int ops_check_node(const struct tn_ops *o, uint32_t node, const struct ops_message *m)
{
    const struct tn_ops_node *n = &o->nodes[node];
    struct check c = {.o = o, .n = n, .out = &o->tensors[n->out], .index = node, .m = m};
    for (int i = 0; i < 4; i++) {
        c.in[i] = n->in[i] == TN_OPS_NONE ? NULL : &o->tensors[n->in[i]];
    }
    switch (n->kind) {
    case TN_OPS_MATMUL:
        return check_matmul(&c);
    case TN_OPS_ATTENTION:
        return check_attention(&c);
    case TN_OPS_SOFTMAX:
        return check_softmax(&c);
    case TN_OPS_RMS_NORM:
    case TN_OPS_LAYER_NORM:
        return check_norm(&c);
    case TN_OPS_ADD:
    case TN_OPS_SUB:
    case TN_OPS_MUL:
    case TN_OPS_DIV:
        return check_pair(&c);
    case TN_OPS_GATE:
        return check_gate(&c);
    case TN_OPS_ROPE:
        return check_rope(&c);
    case TN_OPS_EMBED:
        return check_embed(&c);
    case TN_OPS_TRANSPOSE:
        return check_transpose(&c);
    case TN_OPS_RESHAPE:
        return check_reshape(&c);
    case TN_OPS_CONCAT:
        return check_concat(&c);
    case TN_OPS_SLICE:
        return check_slice(&c);
    case TN_OPS_CAST:
        return check_cast(&c);
    case TN_OPS_REDUCE_SUM:
    case TN_OPS_REDUCE_MEAN:
    case TN_OPS_REDUCE_MAX:
        return check_reduce(&c);
    default:
        return want_alike(&c);
    }
}
