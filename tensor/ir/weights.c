// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weights of a graph by name: shape and type are held against what the equations need, and the
// message names the tensor that does not fit.
#include "tensor/ir/ir.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 96, SHAPE_BYTES = 96 };

static const char *type_words(uint32_t type)
{
    const char *name = tn_type_info(type)->name;
    return name ? name : "unknown";
}

// "F32, F16, Q4_0": the types the engine multiplies by.
static void supported_words(char *out, size_t bytes)
{
    size_t used = 0;
    for (uint32_t t = 0; t < TN_TYPE_LIMIT && used < bytes; t++) {
        if (tn_type_info(t)->name && tn_type_info(t)->computable) {
            int n =
                snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", tn_type_info(t)->name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

// The tensor of that name if it has the shape and is there; otherwise the graph's error.
static const struct gguf_tensor *shaped(struct ir_graph *g, const char *name,
                                        const uint64_t shape[3])
{
    if (g->error) {
        return NULL;
    }
    const struct gguf_tensor *t = gguf_find(g->source, name);
    if (!t) {
        ir_fail(g, -ENOENT, "%s: tensor is missing", name);
        return NULL;
    }
    if (t->shape[0] == shape[0] && t->shape[1] == shape[1] && t->shape[2] == shape[2] &&
        t->shape[3] == 1) {
        return t;
    }
    char found[SHAPE_BYTES], wanted[SHAPE_BYTES];
    size_t used = 0;
    for (uint32_t i = 0; i < (t->dims ? t->dims : 1) && used < sizeof found; i++) {
        int n = snprintf(found + used, sizeof found - used, "%s%llu", i ? "×" : "",
                         (unsigned long long)t->shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    int n = snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)shape[0]);
    if (shape[1] > 1 || shape[2] > 1) {
        n += snprintf(wanted + n, sizeof wanted - (size_t)n, "×%llu", (unsigned long long)shape[1]);
    }
    if (shape[2] > 1) {
        snprintf(wanted + n, sizeof wanted - (size_t)n, "×%llu", (unsigned long long)shape[2]);
    }
    ir_fail(g, -EINVAL, "%s: shape %s, expected %s", name, found, wanted);
    return NULL;
}

static struct ir_matrix matrix_named(struct ir_graph *g, uint32_t columns, uint32_t rows,
                                     uint32_t count, const char *name)
{
    struct ir_matrix none = {0};
    const struct gguf_tensor *t = shaped(g, name, (const uint64_t[]){columns, rows, count});
    if (!t) {
        return none;
    }
    if (!tn_type_info(t->type)->computable) {
        char types[256];
        supported_words(types, sizeof types);
        ir_fail(g, -ENOTSUP, "%s: type %s (%u) is not supported; supported are %s", name,
                type_words(t->type), t->type, types);
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
        return none;
    }
    return m;
}

struct ir_matrix ir_matrix(struct ir_graph *g, uint32_t columns, uint32_t rows, const char *format,
                           ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return matrix_named(g, columns, rows, 1, name);
}

struct ir_matrix ir_matrices(struct ir_graph *g, uint32_t columns, uint32_t rows, uint32_t count,
                             const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return matrix_named(g, columns, rows, count, name);
}

struct ir_matrix ir_matrix_rows(struct ir_graph *g, struct ir_matrix m, uint32_t first,
                                uint32_t rows)
{
    if (g->error) {
        return m;
    }
    if (first > m.rows || rows > m.rows - first) {
        ir_fail(g, -EINVAL, "graph: rows %u to %u of a matrix that has %u", first, first + rows,
                m.rows);
        return m;
    }
    if (m.type & TN_PACKED && first % 16) {
        ir_fail(g, -EINVAL, "graph: row %u of a packed matrix begins no sixteen", first);
        return m;
    }
    m.data += first * m.row_bytes;
    m.rows = rows;
    return m;
}

static const float *vectors_named(struct ir_graph *g, uint32_t length, uint32_t count,
                                  const char *name)
{
    const struct gguf_tensor *t = shaped(g, name, (const uint64_t[]){length, count, 1});
    if (!t) {
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
    // Few values that every row meets: one NaN spoils all.
    for (size_t i = 0; i < (size_t)length * count; i++) {
        uint32_t bits;
        memcpy(&bits, (const uint8_t *)t->data + i * sizeof bits, sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            ir_fail(g, -EINVAL, "%s: value %zu is not a finite number", name, i);
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
    return vectors_named(g, length, 1, name);
}

const float *ir_vector_optional(struct ir_graph *g, uint32_t length, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return gguf_find(g->source, name) ? vectors_named(g, length, 1, name) : NULL;
}

const float *ir_vectors(struct ir_graph *g, uint32_t length, uint32_t count, const char *format,
                        ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return vectors_named(g, length, count, name);
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
