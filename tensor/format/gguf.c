// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// GGUF v2/v3 parser. Every count is held against the bytes that are left before anything is
// allocated for it; names are found by sorting, so that no choice of names makes it slow.
#include "tensor/format/gguf_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC         0x46554747u // "GGUF"
#define MAX_NAME      65535u
#define MAX_NESTING   4
#define MIN_ENTRY     (8u + 1u + 4u + 1u)           // key of one byte, type, a byte
#define MIN_TENSOR    (8u + 1u + 4u + 8u + 4u + 8u) // name of one byte, dims, one size, type, offset
#define MAX_ALIGNMENT (1u << 20)

struct reader {
    const uint8_t *data;
    uint64_t bytes, at;
    uint64_t total; // of the file; more than bytes when only its beginning is here
    bool definite;  // what is wrong will not get better with more of the file
    char *error;
    size_t error_bytes;
    char where[96]; // "key 'general.name'" for messages
};

__attribute__((format(printf, 3, 4))) static int fail(struct reader *r, int code,
                                                      const char *format, ...)
{
    char what[192];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (r->error_bytes)
        snprintf(r->error, r->error_bytes, "GGUF: %s%s%s (at byte %llu of %llu)", r->where,
                 r->where[0] ? ": " : "", what, (unsigned long long)r->at,
                 (unsigned long long)r->total);
    return code;
}

// Names come from outside: only printable ASCII reaches a message, and not too much of it.
void gguf_show_name(struct gguf_string name, char *out, size_t bytes)
{
    size_t n = 0;
    for (; n < name.bytes && n < bytes - 4; n++) {
        char c = name.data[n];
        out[n] = c >= ' ' && c <= '~' ? c : '?';
    }
    snprintf(out + n, bytes - n, "%s", n < name.bytes ? "..." : "");
}

static void set_where(struct reader *r, const char *kind, struct gguf_string name)
{
    char shown[72];
    gguf_show_name(name, shown, sizeof shown);
    snprintf(r->where, sizeof r->where, "%s '%s'", kind, shown);
}

static uint64_t left(const struct reader *r)
{
    return r->bytes - r->at;
}

static int take_u32(struct reader *r, const char *what, uint32_t *out)
{
    if (left(r) < 4)
        return fail(r, -EINVAL, "the file ends inside %s", what);
    memcpy(out, r->data + r->at, 4);
    r->at += 4;
    return 0;
}

static int take_u64(struct reader *r, const char *what, uint64_t *out)
{
    if (left(r) < 8)
        return fail(r, -EINVAL, "the file ends inside %s", what);
    memcpy(out, r->data + r->at, 8);
    r->at += 8;
    return 0;
}

static int take_string(struct reader *r, const char *what, uint64_t limit, struct gguf_string *out)
{
    uint64_t bytes = 0;
    int rc = take_u64(r, what, &bytes);
    if (rc)
        return rc;
    if (bytes > left(r))
        return fail(r, -EINVAL, "%s claims %llu bytes, %llu are left", what,
                    (unsigned long long)bytes, (unsigned long long)left(r));
    if (bytes > limit)
        return fail(r, -EINVAL, "%s has %llu bytes, more than %llu", what,
                    (unsigned long long)bytes, (unsigned long long)limit);
    out->data = (const char *)r->data + r->at;
    out->bytes = bytes;
    r->at += bytes;
    return 0;
}

unsigned gguf_value_bytes(uint32_t type)
{
    static const uint8_t size[GGUF_TYPE_COUNT] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    return type < GGUF_TYPE_COUNT ? size[type] : 0;
}

static int take_array(struct reader *r, unsigned depth, struct gguf_array *out)
{
    if (depth >= MAX_NESTING)
        return fail(r, -EINVAL, "arrays nest deeper than %d", MAX_NESTING);
    int rc = take_u32(r, "an array's type", &out->type);
    if (!rc)
        rc = take_u64(r, "an array's count", &out->count);
    if (rc)
        return rc;
    if (out->type >= GGUF_TYPE_COUNT)
        return fail(r, -EINVAL, "unknown array element type %u", out->type);
    unsigned each = gguf_value_bytes(out->type);
    unsigned least = each ? each : out->type == GGUF_STRING ? 8 : 12;
    if (out->count > left(r) / least)
        return fail(r, -EINVAL, "array claims %llu elements, %llu bytes are left",
                    (unsigned long long)out->count, (unsigned long long)left(r));
    uint64_t start = r->at;
    out->data = r->data + start;
    if (each) {
        r->at += out->count * each;
    } else if (out->type == GGUF_STRING) {
        uint64_t at = start, end = r->bytes;
        for (uint64_t i = 0; i < out->count; i++) { // the hot loop of opening: a vocabulary
            uint64_t bytes;
            if (end - at < 8)
                return fail(r, -EINVAL, "the file ends inside element %llu of %llu",
                            (unsigned long long)i, (unsigned long long)out->count);
            memcpy(&bytes, r->data + at, 8);
            at += 8;
            if (bytes > end - at) {
                r->at = at;
                return fail(r, -EINVAL, "string %llu claims %llu bytes, %llu are left",
                            (unsigned long long)i, (unsigned long long)bytes,
                            (unsigned long long)(end - at));
            }
            at += bytes;
        }
        r->at = at;
    } else {
        for (uint64_t i = 0; i < out->count; i++) {
            struct gguf_array inner;
            if ((rc = take_array(r, depth + 1, &inner)))
                return rc;
        }
    }
    out->bytes = r->at - start;
    return 0;
}

static int take_entry(struct reader *r, struct gguf_entry *e)
{
    int rc = take_string(r, "a key", MAX_NAME, &e->key);
    if (rc)
        return rc;
    if (!e->key.bytes)
        return fail(r, -EINVAL, "a key without a name");
    set_where(r, "key", e->key);
    if ((rc = take_u32(r, "the value's type", &e->type)))
        return rc;
    unsigned each = gguf_value_bytes(e->type);
    if (each) {
        if (left(r) < each)
            return fail(r, -EINVAL, "the file ends inside the value");
        e->array.data = r->data + r->at;
        if (e->type == GGUF_BOOL && *e->array.data > 1)
            return fail(r, -EINVAL, "a boolean of %u", *e->array.data);
        r->at += each;
    } else if (e->type == GGUF_STRING) {
        rc = take_string(r, "the string", UINT64_MAX, &e->text);
    } else if (e->type == GGUF_ARRAY) {
        rc = take_array(r, 0, &e->array);
    } else {
        rc = fail(r, -EINVAL, "unknown value type %u", e->type);
    }
    r->where[0] = 0;
    return rc;
}

static int take_tensor(struct reader *r, uint64_t alignment, struct gguf_tensor *t,
                       uint64_t *offset)
{
    int rc = take_string(r, "a tensor's name", MAX_NAME, &t->name);
    if (rc)
        return rc;
    if (!t->name.bytes)
        return fail(r, -EINVAL, "a tensor without a name");
    set_where(r, "tensor", t->name);
    if ((rc = take_u32(r, "the number of dimensions", &t->dims)))
        return rc;
    if (t->dims > 4)
        return fail(r, -EINVAL, "%u dimensions, at most 4", t->dims);
    uint64_t values = 1;
    for (unsigned d = 0; d < 4; d++) {
        t->shape[d] = 1;
        if (d < t->dims && (rc = take_u64(r, "a dimension", &t->shape[d])))
            return rc;
        if (!t->shape[d])
            return fail(r, -EINVAL, "dimension %u is 0", d);
        if (__builtin_mul_overflow(values, t->shape[d], &values) || values > INT64_MAX)
            return fail(r, -EINVAL, "its dimensions overflow");
    }
    if ((rc = take_u32(r, "the type", &t->type)) || (rc = take_u64(r, "the offset", offset)))
        return rc;
    const struct tn_type_info *type = tn_type_info(t->type);
    if (!type->name)
        return fail(r, -ENOTSUP, "type %u is %s", t->type,
                    t->type == 4 || t->type == 5 || (t->type >= 31 && t->type <= 38)
                        ? "one that the format has given up"
                        : "unknown");
    if (t->shape[0] % type->block_values)
        return fail(r, -EINVAL, "rows of %llu values are no whole blocks of %u (%s)",
                    (unsigned long long)t->shape[0], type->block_values, type->name);
    // Packed rows come in sixteens, of each matrix (tensor/cpu/packed.h).
    uint64_t fill = t->type & TN_PACKED ? (16 - t->shape[1] % 16) % 16 : 0, filled = 0;
    if (__builtin_mul_overflow(values / t->shape[1], fill, &filled) ||
        __builtin_add_overflow(values, filled, &filled) ||
        __builtin_mul_overflow(filled / type->block_values, (uint64_t)type->block_bytes, &t->bytes))
        return fail(r, -EINVAL, "its size overflows");
    if (*offset % alignment)
        return fail(r, -EINVAL, "offset %llu is not aligned to %llu", (unsigned long long)*offset,
                    (unsigned long long)alignment);
    r->where[0] = 0;
    return 0;
}

int gguf_compare(struct gguf_string a, struct gguf_string b)
{
    uint64_t n = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = memcmp(a.data, b.data, n);
    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

// Heap sort: no allocation, and n log n whatever a hostile file brings.
typedef bool (*before_fn)(const struct gguf *g, uint32_t a, uint32_t b);

static void sift(const struct gguf *g, uint32_t *v, size_t i, size_t n, before_fn before)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(g, v[child], v[child + 1]))
            child++;
        if (!before(g, v[i], v[child]))
            return;
        uint32_t t = v[i];
        v[i] = v[child];
        v[child] = t;
    }
}

static void sort(const struct gguf *g, uint32_t *v, size_t n, before_fn before)
{
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        v[i] = (uint32_t)i;
        if (i && sorted)
            sorted = !before(g, v[i], v[i - 1]);
    }
    if (sorted)
        return;
    for (size_t i = n / 2; i-- > 0;)
        sift(g, v, i, n, before);
    for (size_t i = n; i-- > 1;) {
        uint32_t t = v[0];
        v[0] = v[i];
        v[i] = t;
        sift(g, v, 0, i, before);
    }
}

static bool entry_before(const struct gguf *g, uint32_t a, uint32_t b)
{
    return gguf_compare(g->entry[a].key, g->entry[b].key) < 0;
}
static bool tensor_before(const struct gguf *g, uint32_t a, uint32_t b)
{
    return gguf_compare(g->tensor[a].name, g->tensor[b].name) < 0;
}
static bool data_before(const struct gguf *g, uint32_t a, uint32_t b)
{
    return (uintptr_t)g->tensor[a].data < (uintptr_t)g->tensor[b].data;
}

static int read_entries(struct reader *r, struct gguf *g)
{
    uint64_t n = g->entry_count;
    if (n > left(r) / MIN_ENTRY || n > UINT32_MAX)
        return fail(r, -EINVAL, "the header claims %llu keys, %llu bytes are left",
                    (unsigned long long)n, (unsigned long long)left(r));
    g->entry = calloc(n ? n : 1, sizeof *g->entry);
    g->entry_order = malloc((n ? n : 1) * sizeof *g->entry_order);
    if (!g->entry || !g->entry_order)
        return fail(r, -ENOMEM, "no memory for %llu keys", (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) {
        int rc = take_entry(r, &g->entry[i]);
        if (rc)
            return rc;
    }
    sort(g, g->entry_order, n, entry_before);
    for (uint64_t i = 1; i < n; i++) {
        const struct gguf_entry *e = &g->entry[g->entry_order[i]];
        if (!gguf_compare(e->key, g->entry[g->entry_order[i - 1]].key)) {
            set_where(r, "key", e->key);
            r->at = (uint64_t)((const uint8_t *)e->key.data - r->data);
            return fail(r, -EINVAL, "it stands in the file twice");
        }
    }
    return 0;
}

static int read_alignment(struct reader *r, struct gguf *g)
{
    int rc = gguf_u64(g, "general.alignment", &g->alignment);
    if (rc == -ENOENT) {
        g->alignment = 32;
        return 0;
    }
    uint64_t a = g->alignment;
    if (rc || a < 8 || a > MAX_ALIGNMENT || (a & (a - 1)))
        return fail(r, -EINVAL, "key 'general.alignment': must be a power of two from 8 to %u",
                    MAX_ALIGNMENT);
    return 0;
}

static int read_tensors(struct reader *r, struct gguf *g)
{
    uint64_t n = g->tensor_count;
    if (n > left(r) / MIN_TENSOR || n > UINT32_MAX)
        return fail(r, -EINVAL, "the header claims %llu tensors, %llu bytes are left",
                    (unsigned long long)n, (unsigned long long)left(r));
    g->tensor = calloc(n ? n : 1, sizeof *g->tensor);
    g->tensor_order = malloc((n ? n : 1) * sizeof *g->tensor_order);
    if (!g->tensor || !g->tensor_order)
        return fail(r, -ENOMEM, "no memory for %llu tensors", (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor *t = &g->tensor[i];
        uint64_t offset = 0;
        int rc = take_tensor(r, g->alignment, t, &offset);
        if (rc)
            return rc;
        t->data = (const void *)(uintptr_t)offset; // becomes a pointer in place_data
    }
    return 0;
}

// Turns offsets into pointers and refuses data outside the file or shared by two tensors.
static int place_data(struct reader *r, struct gguf *g)
{
    uint64_t mask = g->alignment - 1, n = g->tensor_count;
    g->used_bytes = r->at;
    if (!n)
        return 0;
    uint64_t start = (r->at + mask) & ~mask;
    uint64_t room = start <= r->total ? r->total - start : 0;
    r->definite = true; // the header is complete
    for (uint64_t at = r->at; at < start && at < r->bytes; at++) {
        if (r->data[at]) {
            r->at = at;
            return fail(r, -EINVAL,
                        "%llu tensors, but what follows is no padding: the number of "
                        "tensors or one of them is damaged",
                        (unsigned long long)n);
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor *t = &g->tensor[i];
        uint64_t offset = (uintptr_t)t->data;
        if (offset > room || t->bytes > room - offset) {
            set_where(r, "tensor", t->name);
            r->at = start;
            return fail(
                r, -EINVAL,
                "its data (%llu bytes at %llu) lies past the end: the file is truncated or damaged",
                (unsigned long long)t->bytes, (unsigned long long)(start + offset));
        }
        t->data = (const void *)((uintptr_t)r->data + start + offset);
        if (start + offset + t->bytes > g->used_bytes)
            g->used_bytes = start + offset + t->bytes;
    }
    if (r->bytes < r->total)
        return 0;                        // asked for the extent only
    uint32_t *by_data = g->tensor_order; // borrowed until the order by name goes in
    sort(g, by_data, n, data_before);
    for (uint64_t i = 1; i < n; i++) {
        const struct gguf_tensor *a = &g->tensor[by_data[i - 1]], *b = &g->tensor[by_data[i]];
        if ((const uint8_t *)a->data + a->bytes > (const uint8_t *)b->data) {
            set_where(r, "tensor", b->name);
            r->at = (uint64_t)((const uint8_t *)b->data - r->data);
            return fail(r, -EINVAL, "its data overlaps that of '%.*s'",
                        (int)(a->name.bytes < 64 ? a->name.bytes : 64), a->name.data);
        }
    }
    const struct gguf_tensor *t = gguf_order_tensors(g);
    if (t) {
        set_where(r, "tensor", t->name);
        r->at = (uint64_t)((const uint8_t *)t->name.data - r->data);
        return fail(r, -EINVAL, "it stands in the file twice");
    }
    return 0;
}

const struct gguf_tensor *gguf_order_tensors(struct gguf *g)
{
    sort(g, g->tensor_order, g->tensor_count, tensor_before);
    for (uint64_t i = 1; i < g->tensor_count; i++) {
        const struct gguf_tensor *t = &g->tensor[g->tensor_order[i]];
        if (!gguf_compare(t->name, g->tensor[g->tensor_order[i - 1]].name))
            return t;
    }
    return NULL;
}

static int read_all(struct reader *r, struct gguf *g, bool alone)
{
    uint32_t magic = 0, version = 0;
    if (!r->total)
        return fail(r, -EINVAL, "the file is empty");
    int rc = take_u32(r, "the magic number", &magic);
    if (rc)
        return rc;
    r->at = 0;
    r->definite = true;
    if (magic != MAGIC)
        return fail(r, -EINVAL, "no GGUF file: it begins with %08x instead of \"GGUF\"",
                    __builtin_bswap32(magic));
    r->at = 4;
    r->definite = false;
    if ((rc = take_u32(r, "the version", &version)))
        return rc;
    r->definite = true;
    r->at = 4;
    if (version >= 0x10000 && __builtin_bswap32(version) < 0x10000)
        return fail(r, -ENOTSUP, "the file is big-endian; convert it to little-endian");
    if (version != 2 && version != 3)
        return fail(r, -ENOTSUP, "version %u; versions 2 and 3 are read", version);
    g->version = version;
    r->at = 8;
    r->definite = false;
    if ((rc = take_u64(r, "the number of tensors", &g->tensor_count)) ||
        (rc = take_u64(r, "the number of keys", &g->entry_count)) || (rc = read_entries(r, g)) ||
        (rc = read_alignment(r, g)))
        return rc;
    uint64_t shards = 0;
    if (alone && !gguf_u64(g, "split.count", &shards) && shards > 1)
        return fail(r, -ENOTSUP,
                    "key 'split.count': this is one of %llu files of a model; all of them are "
                    "needed",
                    (unsigned long long)shards);
    if ((rc = read_tensors(r, g)))
        return rc;
    return place_data(r, g);
}

int gguf_open(const void *data, size_t bytes, struct gguf **out, char *error, size_t error_bytes)
{
    return gguf_parse(data, bytes, true, out, error, error_bytes);
}

int gguf_parse(const void *data, size_t bytes, bool alone, struct gguf **out, char *error,
               size_t error_bytes)
{
    struct reader r = {.data = data,
                       .bytes = bytes,
                       .total = bytes,
                       .error = error,
                       .error_bytes = error ? error_bytes : 0};
    struct gguf *g = calloc(1, sizeof *g);
    if (r.error_bytes)
        error[0] = 0;
    *out = NULL;
    if (!g)
        return fail(&r, -ENOMEM, "no memory");
    g->data = data;
    g->bytes = bytes;
    int rc = read_all(&r, g, alone);
    if (rc)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

int gguf_extent(const void *beginning, size_t have, uint64_t total, uint64_t *used, char *error,
                size_t error_bytes)
{
    struct reader r = {.data = beginning,
                       .bytes = have,
                       .total = total,
                       .error = error,
                       .error_bytes = error ? error_bytes : 0};
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return fail(&r, -ENOMEM, "no memory");
    g->data = beginning;
    g->bytes = have;
    int rc = read_all(&r, g, true);
    if (rc == -EINVAL && !r.definite && have < total)
        rc = -EAGAIN;
    if (!rc)
        *used = g->used_bytes;
    gguf_close(g);
    return rc;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (uint64_t i = 0; g->entry && i < g->entry_count; i++)
        free(atomic_load_explicit(&g->entry[i].offset, memory_order_relaxed));
    free(g->entry);
    free(g->tensor);
    free(g->entry_order);
    free(g->tensor_order);
    for (size_t i = 0; i < g->part_count; i++)
        gguf_close(g->part[i]);
    free(g->part);
    for (size_t i = 0; i < g->owned_count; i++)
        free(g->owned[i]);
    free(g->owned);
    free(g);
}
