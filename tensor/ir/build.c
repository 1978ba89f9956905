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

enum { NAME_BYTES = 96 };

void ir_begin(struct ir_graph *g, const struct gguf *source, char *message, size_t bytes)
{
    *g = (struct ir_graph){.source = source, .message = message, .message_bytes = bytes};
    g->value_count = 1;
}

void ir_end(struct ir_graph *g)
{
    free(g->ops);
    free(g->values);
    free(g->rope_frequency);
    g->ops = NULL;
    g->values = NULL;
    g->rope_frequency = NULL;
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

// ---- weights -----------------------------------------------------------------------------------

static void shape_words(const struct gguf_tensor *t, char *out, size_t bytes)
{
    size_t used = 0;
    for (uint32_t i = 0; i < (t->dims ? t->dims : 1) && used < bytes; i++) {
        int n = snprintf(out + used, bytes - used, "%s%llu", i ? "×" : "",
                         (unsigned long long)t->shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static const char *type_words(uint32_t type)
{
    const char *name = tn_type_info(type)->name;
    return name ? name : "unknown";
}

static const struct gguf_tensor *find(struct ir_graph *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find(g->source, name);
    if (!t) {
        ir_fail(g, -ENOENT, "%s: tensor is missing", name);
    }
    return t;
}

struct ir_matrix ir_matrix(struct ir_graph *g, uint32_t columns, uint32_t rows, const char *format,
                           ...)
{
    char name[NAME_BYTES], shape[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    struct ir_matrix none = {0};
    const struct gguf_tensor *t = g->error ? NULL : find(g, name);
    if (!t) {
        return none;
    }
    if (t->shape[0] != columns || t->shape[1] != rows || t->shape[2] != 1 || t->shape[3] != 1) {
        shape_words(t, shape, sizeof shape);
        ir_fail(g, -EINVAL, "%s: shape %s, expected %u×%u", name, shape, columns, rows);
        return none;
    }
    if (!tn_type_info(t->type)->computable) {
        ir_fail(g, -ENOTSUP,
                "%s: type %s (%u) is not supported; supported are F32, F16, BF16, "
                "Q8_0, Q4_0",
                name, type_words(t->type), t->type);
        return none;
    }
    struct ir_matrix m = {.data = t->data,
                          .type = t->type,
                          .rows = rows,
                          .columns = columns,
                          .row_bytes = tn_row_bytes(t->type, columns)};
    if (m.row_bytes == 0) {
        ir_fail(g, -EINVAL, "%s: rows of %u values are no whole number of %s blocks", name, columns,
                type_words(t->type));
    }
    return m;
}

static const float *vector_named(struct ir_graph *g, uint32_t length, const char *name)
{
    const struct gguf_tensor *t = g->error ? NULL : find(g, name);
    if (!t) {
        return NULL;
    }
    if (t->shape[0] != length || t->shape[1] != 1 || t->shape[2] != 1 || t->shape[3] != 1) {
        char shape[96];
        shape_words(t, shape, sizeof shape);
        ir_fail(g, -EINVAL, "%s: shape %s, expected %u", name, shape, length);
        return NULL;
    }
    if (t->type != TN_F32) {
        ir_fail(g, -ENOTSUP, "%s: type %s (%u), expected F32", name, type_words(t->type), t->type);
        return NULL;
    }
    if ((uintptr_t)t->data % sizeof(float) != 0) {
        ir_fail(g, -EINVAL, "%s: its data is not aligned to 4 bytes", name);
        return NULL;
    }
    for (uint32_t i = 0; i < length; i++) { // few values that every row meets: one NaN spoils all
        uint32_t bits;
        memcpy(&bits, (const uint8_t *)t->data + i * sizeof bits, sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            ir_fail(g, -EINVAL, "%s: value %u is not a finite number", name, i);
            return NULL;
        }
    }
    return t->data;
}

const float *ir_vector(struct ir_graph *g, uint32_t length, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return vector_named(g, length, name);
}

const float *ir_vector_optional(struct ir_graph *g, uint32_t length, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return gguf_find(g->source, name) ? vector_named(g, length, name) : NULL;
}

bool ir_has(const struct ir_graph *g, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return gguf_find(g->source, name) != NULL;
}

// ---- operations --------------------------------------------------------------------------------

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

ir_value ir_embed(struct ir_graph *g, struct ir_matrix table)
{
    struct ir_op op = {.kind = IR_EMBED, .matrix = {table}};
    return append(g, op, IR_TOKENS, table.columns);
}

ir_value ir_rms_norm(struct ir_graph *g, ir_value x, const float *weight, float epsilon)
{
    struct ir_shape s = operand(g, "norm", x, 0);
    struct ir_op op = {.kind = IR_RMS_NORM, .in = {x}, .vector = {weight}, .number = epsilon};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_matmul(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias)
{
    struct ir_shape s = operand(g, "product", x, w.columns);
    struct ir_op op = {.kind = IR_MATMUL, .in = {x}, .matrix = {w}, .vector = {bias}};
    return append(g, op, s.rows, w.rows);
}

ir_value ir_add(struct ir_graph *g, ir_value a, ir_value b)
{
    struct ir_shape s = operand(g, "sum", a, 0);
    operand(g, "sum", b, s.columns);
    struct ir_op op = {.kind = IR_ADD, .in = {a, b}};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_silu_mul(struct ir_graph *g, ir_value gate, ir_value up)
{
    struct ir_shape s = operand(g, "silu", gate, 0);
    operand(g, "silu", up, s.columns);
    struct ir_op op = {.kind = IR_GATE, .in = {gate, up}, .activation = IR_SILU};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_rope(struct ir_graph *g, ir_value x, uint32_t heads)
{
    struct ir_shape s = operand(g, "rope", x, heads * g->head_dim);
    struct ir_op op = {.kind = IR_ROPE, .in = {x}, .heads = heads, .rope = &g->rope};
    return append(g, op, s.rows, s.columns);
}

void ir_kv_store(struct ir_graph *g, uint32_t layer, ir_value k, ir_value v)
{
    operand(g, "key store", k, g->kv_heads * g->head_dim);
    operand(g, "value store", v, g->kv_heads * g->head_dim);
    struct ir_op op = {.kind = IR_KV_STORE, .in = {k, v}, .layer = layer};
    append(g, op, IR_TOKENS, 0);
}

ir_value ir_attention(struct ir_graph *g, uint32_t layer, ir_value q, float scale)
{
    struct ir_shape s = operand(g, "attention", q, g->heads * g->head_dim);
    struct ir_op op = {
        .kind = IR_ATTENTION, .in = {q}, .layer = layer, .attention = {.scale = scale}};
    return append(g, op, s.rows, s.columns);
}

ir_value ir_take_outputs(struct ir_graph *g, ir_value x)
{
    struct ir_shape s = operand(g, "row selection", x, 0);
    struct ir_op op = {.kind = IR_TAKE_OUTPUTS, .in = {x}};
    return append(g, op, IR_OUTPUTS, s.columns);
}

void ir_logits(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias)
{
    operand(g, "logits", x, w.columns);
    struct ir_op op = {.kind = IR_LOGITS, .in = {x}, .matrix = {w}, .vector = {bias}};
    append(g, op, IR_OUTPUTS, 0);
}

int ir_finish(struct ir_graph *g)
{
    if (!g->error) {
        ir_fuse(g);
        ir_plan(g);
    }
    return g->error;
}
