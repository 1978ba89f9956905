// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A model in several GGUF files: each is parsed on its own; the keys are the first one's, the
// tensors all of theirs. And: where in which file a name stands, for messages.
#include "tensor/format/gguf_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 10000 }; // names have five digits

struct shards {
    struct gguf **part; // in the order of split.no
    size_t count;
    char *error;
    size_t error_bytes;
};

static int complain(const struct shards *s, size_t file, const char *what, uint64_t a, uint64_t b)
{
    char text[160];
    snprintf(text, sizeof text, what, (unsigned long long)a, (unsigned long long)b);
    if (s->error_bytes)
        snprintf(s->error, s->error_bytes, "GGUF: file %zu of %zu: %s", file + 1, s->count, text);
    return -EINVAL;
}

// Opens one file and puts it where its number says.
static int take_file(struct shards *s, size_t file, const struct gguf_block *block)
{
    struct gguf *g;
    uint64_t number, count;
    char reason[400] = "";
    int rc = gguf_parse(block->data, block->bytes, false, &g, reason, sizeof reason);
    if (rc) {
        if (s->error_bytes)
            snprintf(s->error, s->error_bytes, "file %zu of %zu: %s", file + 1, s->count, reason);
        return rc;
    }
    if (gguf_u64(g, "split.count", &count) || gguf_u64(g, "split.no", &number))
        rc = complain(s, file, "key 'split.count' or 'split.no' is missing or no number", 0, 0);
    else if (count != s->count)
        rc = complain(s, file, "key 'split.count': is %llu, but %llu files are here", count,
                      s->count);
    else if (number >= s->count)
        rc = complain(s, file, "key 'split.no': is %llu of %llu", number, s->count);
    else if (s->part[number])
        rc = complain(s, file, "key 'split.no': another file has number %llu too", number, 0);
    if (rc)
        gguf_close(g);
    else
        s->part[number] = g;
    return rc;
}

static int check_total(const struct shards *s, uint64_t total)
{
    for (size_t i = 0; i < s->count; i++) {
        uint64_t claimed;
        int rc = gguf_u64(s->part[i], "split.tensors.count", &claimed);
        if (rc == -EINVAL || (!rc && claimed != total))
            return complain(s, i, "key 'split.tensors.count': is not %llu, what all files have",
                            total, 0);
    }
    return 0;
}

static int merge(const struct shards *s, struct gguf *g)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->count; i++)
        total += s->part[i]->tensor_count;
    int rc = check_total(s, total);
    if (rc)
        return rc;
    if (total > UINT32_MAX)
        return complain(s, 0, "%llu tensors in all", total, 0);
    struct gguf *first = s->part[0];
    g->data = first->data;
    g->bytes = first->bytes;
    g->version = first->version;
    g->alignment = first->alignment;
    g->tensor = calloc(total ? total : 1, sizeof *g->tensor);
    g->tensor_order = malloc((total ? total : 1) * sizeof *g->tensor_order);
    if (!g->tensor || !g->tensor_order) {
        if (s->error_bytes)
            snprintf(s->error, s->error_bytes, "no memory for %llu tensors",
                     (unsigned long long)total);
        return -ENOMEM;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct gguf *p = s->part[i];
        memcpy(g->tensor + g->tensor_count, p->tensor, p->tensor_count * sizeof *g->tensor);
        g->tensor_count += p->tensor_count;
        g->used_bytes += p->used_bytes;
    }
    const struct gguf_tensor *twice = gguf_order_tensors(g);
    if (twice) {
        char name[72];
        gguf_show_name(twice->name, name, sizeof name);
        if (s->error_bytes)
            snprintf(s->error, s->error_bytes, "GGUF: tensor '%s': stands in two of the files",
                     name);
        return -EINVAL;
    }
    g->entry = first->entry;
    g->entry_order = first->entry_order;
    g->entry_count = first->entry_count;
    first->entry = NULL;
    first->entry_order = NULL;
    first->entry_count = 0;
    return 0;
}

int gguf_open_shards(const struct gguf_block *blocks, size_t count, struct gguf **out, char *error,
                     size_t error_bytes)
{
    struct shards s = {.count = count, .error = error, .error_bytes = error ? error_bytes : 0};
    if (s.error_bytes)
        error[0] = 0;
    *out = NULL;
    if (count == 1)
        return gguf_open(blocks[0].data, blocks[0].bytes, out, error, error_bytes);
    if (!count || count > MAX_SHARDS) {
        if (s.error_bytes)
            snprintf(error, error_bytes, "GGUF: a model of %zu files", count);
        return -EINVAL;
    }
    struct gguf *g = calloc(1, sizeof *g);
    s.part = calloc(count, sizeof *s.part);
    int rc = g && s.part ? 0 : -ENOMEM;
    if (rc && s.error_bytes)
        snprintf(error, error_bytes, "no memory");
    for (size_t i = 0; i < count && !rc; i++)
        rc = take_file(&s, i, &blocks[i]);
    if (!rc)
        rc = merge(&s, g);
    if (!g) {
        free(s.part);
        return rc;
    }
    g->part = s.part;
    g->part_count = s.part ? count : 0;
    if (rc)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

int gguf_own(struct gguf *g, void *block)
{
    void **grown = realloc(g->owned, (g->owned_count + 1) * sizeof *grown);
    if (!grown) {
        free(block);
        return -ENOMEM;
    }
    g->owned = grown;
    grown[g->owned_count++] = block;
    return 0;
}

// ---- places -------------------------------------------------------------------------------------

static bool inside(const struct gguf *g, const char *p)
{
    return (uintptr_t)p >= (uintptr_t)g->data && (uintptr_t)p <= (uintptr_t)g->data + g->bytes;
}

void gguf_say_where(const struct gguf *g, char *error, size_t error_bytes)
{
    size_t used = strnlen(error, error_bytes), n = strcspn(error, ": ,");
    char name[128];
    if (used == error_bytes || n == 0 || n >= sizeof name || strstr(error, "at byte "))
        return;
    memcpy(name, error, n);
    name[n] = 0;
    const struct gguf_entry *e = gguf_entry_find(g, name);
    const struct gguf_tensor *t = e ? NULL : gguf_find(g, name);
    const char *place = e ? e->key.data : t ? t->name.data : NULL;
    const char *format = " (at byte %llu of %llu)";
    if (!place && strchr(name, '.')) { // a name, but not one of this file's
        struct gguf_string last = {NULL, 0};
        if (strstr(name, ".weight") || strstr(name, ".bias")) {
            format = " (the tensors end at byte %llu of %llu)";
            if (g->tensor_count)
                last = g->tensor[g->tensor_count - 1].name;
            else if (g->entry_count)
                last = g->entry[g->entry_count - 1].key;
        } else {
            format = " (the keys end at byte %llu of %llu)";
            if (g->entry_count)
                last = g->entry[g->entry_count - 1].key;
        }
        place = last.data ? last.data + last.bytes : NULL;
    }
    const struct gguf *file = g;
    for (size_t i = 0; i < g->part_count && place && !inside(file, place); i++)
        file = g->part[i];
    if (place && inside(file, place))
        snprintf(error + used, error_bytes - used, format,
                 (unsigned long long)((uintptr_t)place - (uintptr_t)file->data),
                 (unsigned long long)file->bytes);
}
