// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Building a graph: each call appends one operation and checks the shapes it is given.
#include "tensor/ir/ir.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ir_begin(struct ir_graph *g, const struct gguf *source, char *message, size_t bytes)
{
    *g = (struct ir_graph){.source = source, .message = message, .message_bytes = bytes};
    g->value_count = 1;
}

void ir_end(struct ir_graph *g)
{
    for (uint32_t i = 0; i < g->owned_count; i++) {
        free(g->owned[i]);
    }
    free(g->owned);
    free(g->ops);
    free(g->values);
    g->owned = NULL;
    g->owned_count = 0;
    g->ops = NULL;
    g->values = NULL;
}

void ir_fail(struct ir_graph *g, int error, const char *format, ...)
{
    if (g->error) {
        return;
    }
    g->error = error;
    va_list args;
    va_start(args, format);
    vsnprintf(g->message, g->message_bytes, format, args);
    va_end(args);
}

// Room for one more element in a growing array. False: no memory (recorded).
static bool grow(struct ir_graph *g, void **array, uint32_t count, uint32_t *space, size_t size)
{
    if (count < *space) {
        return true;
    }
    uint32_t more = *space ? *space * 2 : 64;
    void *p = realloc(*array, more * size);
    if (!p) {
        ir_fail(g, -ENOMEM, "no memory for the model's graph");
        return false;
    }
    *array = p;
    *space = more;
    return true;
}

void *ir_own(struct ir_graph *g, size_t count, size_t size)
{
    void *owned = g->owned;
    bool fits = grow(g, &owned, g->owned_count, &g->owned_space, sizeof *g->owned);
    g->owned = owned;
    void *block = fits ? calloc(count, size) : NULL;
    if (!block) {
        ir_fail(g, -ENOMEM, "no memory for the model's graph");
        return NULL;
    }
    g->owned[g->owned_count++] = block;
    return block;
}

static ir_value append(struct ir_graph *g, struct ir_op op, enum ir_rows rows, uint32_t columns)
{
    void *ops = g->ops, *values = g->values;
    bool fits = grow(g, &ops, g->op_count, &g->op_space, sizeof *g->ops);
    g->ops = ops;
    fits = fits && grow(g, &values, g->value_count, &g->value_space, sizeof *g->values);
    g->values = values;
    if (!fits || g->error) {
        return 0;
    }
    if (columns) {
        op.out = g->value_count++;
        g->values[op.out] = (struct ir_shape){.rows = rows, .columns = columns};
    }
    g->ops[g->op_count++] = op;
    return op.out;
}

// The shape of an operand; records an error if its width is not what the operation needs (0: any).
static struct ir_shape operand(struct ir_graph *g, const char *operation, ir_value x,
                               uint32_t columns)
{
    if (g->error) {
        return (struct ir_shape){0};
    }
    if (x == 0 || x >= g->value_count) {
        ir_fail(g, -EINVAL, "graph: %s of a value that does not exist", operation);
        return (struct ir_shape){0};
    }
    if (columns && g->values[x].columns != columns) {
        ir_fail(g, -EINVAL, "graph: %s of a value %u wide, expected %u", operation,
                g->values[x].columns, columns);
    }
    return g->values[x];
}

// An operand with the rows and columns of another.
static void like(struct ir_graph *g, const char *operation, ir_value x, struct ir_shape other)
{
    struct ir_shape s = operand(g, operation, x, other.columns);
    if (!g->error && s.rows != other.rows) {
        ir_fail(g, -EINVAL, "graph: %s of all rows with chosen ones", operation);
    }
}

// ---- elementwise and rows ----------------------------------------------------------------------

ir_value ir_embed(struct ir_graph *g, struct ir_matrix table, float scale)
{
    struct ir_op op = {.kind = IR_EMBED, .matrix = {table}, .number = scale};
    return append(g, op, IR_TOKENS, table.columns);
}

ir_value ir_add_position(struct ir_graph *g, ir_value x, struct ir_matrix table)
{
    struct ir_shape s = operand(g, "position", x, table.columns);
    if (!g->error && (s.rows != IR_TOKENS || table.rows < g->context)) {
        ir_fail(g, -EINVAL, "graph: %u rows of positions, expected %u", table.rows, g->context);
    }
    if (table.type & TN_PACKED) {
        ir_fail(g, -ENOTSUP, "graph: a table of positions is packed, expected rows");
    }
    struct ir_op op = {.kind = IR_ADD_POSITION, .in = {x}, .matrix = {table}};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_add_vector(struct ir_graph *g, ir_value x, const float *vector)
{
    struct ir_shape s = operand(g, "sum", x, 0);
    struct ir_op op = {.kind = IR_ADD_VECTOR, .in = {x}, .vector = {vector}};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_head_norm(struct ir_graph *g, ir_value x, uint32_t heads, const float *weight,
                      float epsilon)
{
    struct ir_shape s = operand(g, "norm", x, 0);
    if (!g->error && (heads == 0 || s.columns % heads != 0)) {
        ir_fail(g, -EINVAL, "graph: norm of %u heads in a value %u wide", heads, s.columns);
    }
    struct ir_op op = {
        .kind = IR_RMS_NORM, .in = {x}, .vector = {weight}, .heads = heads, .number = epsilon};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_rms_norm(struct ir_graph *g, ir_value x, const float *weight, float epsilon)
{
    return ir_head_norm(g, x, 1, weight, epsilon);
}

ir_value ir_layer_norm(struct ir_graph *g, ir_value x, const float *weight, const float *bias,
                       float epsilon)
{
    struct ir_shape s = operand(g, "norm", x, 0);
    struct ir_op op = {
        .kind = IR_LAYER_NORM, .in = {x}, .vector = {weight, bias}, .heads = 1, .number = epsilon};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_add(struct ir_graph *g, ir_value a, ir_value b)
{
    struct ir_shape s = operand(g, "sum", a, 0);
    like(g, "sum", b, s);
    struct ir_op op = {.kind = IR_ADD, .in = {a, b}};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_activate(struct ir_graph *g, ir_value x, enum ir_activation activation)
{
    struct ir_shape s = operand(g, "activation", x, 0);
    struct ir_op op = {.kind = IR_ACTIVATE, .in = {x}, .activation = activation};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_gate(struct ir_graph *g, ir_value gate, ir_value up, enum ir_activation activation)
{
    struct ir_shape s = operand(g, "gate", gate, 0);
    like(g, "gate", up, s);
    struct ir_op op = {.kind = IR_GATE, .in = {gate, up}, .activation = activation};
    return append(g, op, s.rows, s.columns);
}

// ---- products ----------------------------------------------------------------------------------

ir_value ir_matmul(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias)
{
    struct ir_shape s = operand(g, "product", x, w.columns);
    struct ir_op op = {.kind = IR_MATMUL, .in = {x}, .matrix = {w}, .vector = {bias}};
    return append(g, op, s.rows, w.rows);
}

ir_value ir_experts(struct ir_graph *g, ir_value x, ir_value router, const struct ir_experts *e)
{
    struct ir_shape s = operand(g, "experts", x, e->gate.columns),
                    r = operand(g, "router", router, e->count);
    if (!g->error &&
        (r.rows != s.rows || e->used == 0 || e->used > e->count || e->up.columns != s.columns ||
         e->up.rows != e->gate.rows || e->down.columns != e->gate.rows)) {
        ir_fail(g, -EINVAL, "graph: experts whose matrices do not fit each other");
    }
    struct ir_experts *own = g->error ? NULL : ir_own(g, 1, sizeof *own);
    if (!own) {
        return 0;
    }
    *own = *e;
    struct ir_op op = {.kind = IR_EXPERTS, .in = {x, router}, .experts = own};
    return append(g, op, s.rows, e->down.rows);
}

void ir_logits(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias, float softcap)
{
    operand(g, "logits", x, w.columns);
    struct ir_op op = {
        .kind = IR_LOGITS, .in = {x}, .matrix = {w}, .vector = {bias}, .number = softcap};
    append(g, op, IR_OUTPUTS, 0);
}

// ---- attention ---------------------------------------------------------------------------------

const struct ir_rope *ir_rope_of(struct ir_graph *g, const struct ir_rope *rope)
{
    if (g->error) {
        return NULL;
    }
    size_t bytes = rope->rotated / 2 * sizeof *rope->frequency;
    for (uint32_t i = 0; i < g->rope_count; i++) {
        const struct ir_rope *r = g->ropes[i];
        if (r->split_halves == rope->split_halves && r->rotated == rope->rotated &&
            r->magnitude >= rope->magnitude && r->magnitude <= rope->magnitude &&
            r->frequency_long == rope->frequency_long &&
            memcmp(r->frequency, rope->frequency, bytes) == 0) {
            return r;
        }
    }
    struct ir_rope *own = ir_own(g, 1, sizeof *own);
    if (!own) {
        return NULL;
    }
    if (g->rope_count == IR_MOST_ROPES) {
        ir_fail(g, -ENOTSUP, "graph: more than %d different ropes", IR_MOST_ROPES);
        return NULL;
    }
    *own = *rope;
    own->place = g->turn_floats;
    // Neighbours are turned in place, with each number twice.
    g->turn_floats += own->split_halves ? own->rotated : 2 * own->rotated;
    g->ropes[g->rope_count++] = own;
    return own;
}

ir_value ir_rope(struct ir_graph *g, ir_value x, uint32_t heads, const struct ir_rope *rope)
{
    struct ir_shape s = operand(g, "rope", x, heads * g->head_dim);
    if (!g->error && (!rope || rope->rotated > g->head_dim)) {
        ir_fail(g, -EINVAL, "graph: rope of more dimensions than a head has");
    }
    struct ir_op op = {.kind = IR_ROPE, .in = {x}, .heads = heads, .rope = rope};
    return append(g, op, s.rows, s.columns);
}

void ir_kv_store(struct ir_graph *g, uint32_t layer, ir_value k, ir_value v)
{
    struct ir_shape s = operand(g, "key store", k, g->kv_heads * g->head_dim);
    like(g, "value store", v, s);
    struct ir_op op = {.kind = IR_KV_STORE, .in = {k, v}, .layer = layer};
    append(g, op, IR_TOKENS, 0);
}

ir_value ir_attention(struct ir_graph *g, uint32_t layer, ir_value q, struct ir_attention a)
{
    struct ir_shape s = operand(g, "attention", q, g->heads * g->head_dim);
    struct ir_op op = {
        .kind = IR_ATTENTION, .in = {q}, .layer = layer, .heads = g->heads, .attention = a};
    return append(g, op, s.rows, s.columns);
}

// ---- ends --------------------------------------------------------------------------------------

ir_value ir_take_outputs(struct ir_graph *g, ir_value x)
{
    struct ir_shape s = operand(g, "row selection", x, 0);
    struct ir_op op = {.kind = IR_TAKE_OUTPUTS, .in = {x}};
    return append(g, op, IR_OUTPUTS, s.columns);
}

void ir_pool(struct ir_graph *g, ir_value x, enum ir_pooling pooling)
{
    operand(g, "pooling", x, g->embedding);
    struct ir_op op = {.kind = IR_POOL, .in = {x}, .pooling = pooling};
    append(g, op, IR_TOKENS, 0);
}

int ir_finish(struct ir_graph *g)
{
    if (!g->error) {
        ir_narrow(g);
    }
    if (!g->error) {
        ir_fuse(g);
        ir_plan(g);
    }
    return g->error;
}
