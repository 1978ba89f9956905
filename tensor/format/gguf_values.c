// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Values and tensors of an opened GGUF, by name and by index.
#include "tensor/format/gguf_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t gguf_tensor_count(const struct gguf *g)
{
    return g->tensor_count;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint64_t i)
{
    return i < g->tensor_count ? &g->tensor[i] : NULL;
}

uint64_t gguf_key_count(const struct gguf *g)
{
    return g->entry_count;
}

struct gguf_string gguf_key_at(const struct gguf *g, uint64_t i, uint32_t *type)
{
    struct gguf_string none = {"", 0};
    if (i >= g->entry_count)
        return none;
    if (type)
        *type = g->entry[i].type;
    return g->entry[i].key;
}

uint64_t gguf_used_bytes(const struct gguf *g)
{
    return g->used_bytes;
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name)
{
    struct gguf_string wanted = {name, strlen(name)};
    for (uint64_t low = 0, high = g->tensor_count; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        const struct gguf_tensor *t = &g->tensor[g->tensor_order[middle]];
        int order = gguf_compare(wanted, t->name);
        if (!order)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key)
{
    struct gguf_string wanted = {key, strlen(key)};
    for (uint64_t low = 0, high = g->entry_count; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        const struct gguf_entry *e = &g->entry[g->entry_order[middle]];
        int order = gguf_compare(wanted, e->key);
        if (!order)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

// A plain number at p. Integers come as sign and magnitude bits in *integer, floats in *real.
static bool load(uint32_t type, const uint8_t *p, int64_t *integer, double *real, bool *is_unsigned)
{
    union {
        int8_t i8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        float f32;
        double f64;
    } v = {0};
    memcpy(&v, p, gguf_value_bytes(type));
    *is_unsigned = false;
    switch (type) {
    case GGUF_U8:
        *integer = *p;
        return true;
    case GGUF_I8:
        *integer = v.i8;
        return true;
    case GGUF_U16:
        *integer = v.u16;
        return true;
    case GGUF_I16:
        *integer = v.i16;
        return true;
    case GGUF_U32:
        *integer = v.u32;
        return true;
    case GGUF_I32:
        *integer = v.i32;
        return true;
    case GGUF_U64:
        *is_unsigned = true;
        *integer = v.i64;
        return true;
    case GGUF_I64:
        *integer = v.i64;
        return true;
    case GGUF_F32:
        *real = (double)v.f32;
        return false;
    default:
        *real = v.f64;
        return false;
    }
}

static bool is_integer(uint32_t type)
{
    return gguf_value_bytes(type) && type != GGUF_BOOL && type != GGUF_F32 && type != GGUF_F64;
}

static int as_i64(uint32_t type, const uint8_t *p, int64_t *out)
{
    double real;
    bool is_unsigned;
    if (!is_integer(type))
        return -EINVAL;
    load(type, p, out, &real, &is_unsigned);
    return is_unsigned && *out < 0 ? -EINVAL : 0;
}

static int as_f64(uint32_t type, const uint8_t *p, double *out)
{
    int64_t integer = 0;
    bool is_unsigned;
    if (!gguf_value_bytes(type) || type == GGUF_BOOL)
        return -EINVAL;
    if (load(type, p, &integer, out, &is_unsigned))
        *out = is_unsigned ? (double)(uint64_t)integer : (double)integer;
    return 0;
}

int gguf_u64(const struct gguf *g, const char *key, uint64_t *out)
{
    const struct gguf_entry *e = gguf_entry_find(g, key);
    int64_t integer = 0;
    double real;
    bool is_unsigned;
    if (!e)
        return -ENOENT;
    if (!is_integer(e->type))
        return -EINVAL;
    load(e->type, e->array.data, &integer, &real, &is_unsigned);
    if (integer < 0 && !is_unsigned)
        return -EINVAL;
    *out = (uint64_t)integer;
    return 0;
}

int gguf_f64(const struct gguf *g, const char *key, double *out)
{
    const struct gguf_entry *e = gguf_entry_find(g, key);
    return e ? as_f64(e->type, e->array.data, out) : -ENOENT;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out)
{
    const struct gguf_entry *e = gguf_entry_find(g, key);
    if (!e)
        return -ENOENT;
    if (e->type != GGUF_BOOL)
        return -EINVAL;
    *out = *e->array.data != 0;
    return 0;
}

int gguf_str(const struct gguf *g, const char *key, struct gguf_string *out)
{
    const struct gguf_entry *e = gguf_entry_find(g, key);
    if (!e)
        return -ENOENT;
    if (e->type != GGUF_STRING)
        return -EINVAL;
    *out = e->text;
    return 0;
}

static int find_array(const struct gguf *g, const char *key, const struct gguf_entry **out)
{
    *out = gguf_entry_find(g, key);
    if (!*out)
        return -ENOENT;
    return (*out)->type == GGUF_ARRAY ? 0 : -EINVAL;
}

int gguf_arr(const struct gguf *g, const char *key, struct gguf_array *out)
{
    const struct gguf_entry *e;
    int rc = find_array(g, key, &e);
    if (!rc)
        *out = e->array;
    return rc;
}

// Two threads may both make the index; one of them wins the exchange and the other frees its own.
static int string_index(const struct gguf_entry *e, const uint64_t **out)
{
    _Atomic(uint64_t *) *slot = &((struct gguf_entry *)(uintptr_t)e)->offset;
    uint64_t *made = atomic_load_explicit(slot, memory_order_acquire);
    if (!made) {
        made = malloc((e->array.count ? e->array.count : 1) * sizeof *made);
        if (!made)
            return -ENOMEM;
        uint64_t at = 0, bytes;
        for (uint64_t i = 0; i < e->array.count; i++) {
            made[i] = at;
            memcpy(&bytes, e->array.data + at, 8);
            at += 8 + bytes;
        }
        uint64_t *expected = NULL;
        if (!atomic_compare_exchange_strong_explicit(slot, &expected, made, memory_order_acq_rel,
                                                     memory_order_acquire)) {
            free(made);
            made = expected;
        }
    }
    *out = made;
    return 0;
}

int gguf_arr_str(const struct gguf *g, const char *key, uint64_t i, struct gguf_string *out)
{
    const struct gguf_entry *e;
    const uint64_t *offset;
    int rc = find_array(g, key, &e);
    if (rc)
        return rc;
    if (e->array.type != GGUF_STRING || i >= e->array.count)
        return -EINVAL;
    if ((rc = string_index(e, &offset)))
        return rc;
    memcpy(&out->bytes, e->array.data + offset[i], 8);
    out->data = (const char *)e->array.data + offset[i] + 8;
    return 0;
}

int gguf_arr_f64(const struct gguf *g, const char *key, uint64_t i, double *out)
{
    const struct gguf_entry *e;
    int rc = find_array(g, key, &e);
    if (rc)
        return rc;
    unsigned each = gguf_value_bytes(e->array.type);
    if (!each || i >= e->array.count)
        return -EINVAL;
    return as_f64(e->array.type, e->array.data + i * each, out);
}

int gguf_arr_i64(const struct gguf *g, const char *key, uint64_t i, int64_t *out)
{
    const struct gguf_entry *e;
    int rc = find_array(g, key, &e);
    if (rc)
        return rc;
    unsigned each = gguf_value_bytes(e->array.type);
    if (!each || i >= e->array.count)
        return -EINVAL;
    return as_i64(e->array.type, e->array.data + i * each, out);
}
