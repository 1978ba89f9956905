// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Safetensors: u64 length of a JSON header, the header ({"name": {"dtype", "shape",
// "data_offsets"}}), data. Every number is held against the file. The tensors, renamed, and keys
// out of the JSON files beside it make a GGUF index.
#include "tensor/format/gguf_private.h"
#include "tensor/format/hf.h"
#include "tensor/half.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HEADER (100u << 20) // as the format's own reader has it

int hf_fail(struct hf_reader *r, int rc, const struct safetensors_source *file, const char *format,
            ...)
{
    va_list args;
    va_start(args, format);
    int n = snprintf(r->error, r->error_bytes, "%s: ", file->name);
    if (n >= 0 && (size_t)n < r->error_bytes)
        vsnprintf(r->error + n, r->error_bytes - (size_t)n, format, args);
    va_end(args);
    return rc;
}

const char *hf_show(const char *text, char *buffer, size_t bytes)
{
    gguf_show_name((struct gguf_string){text, strlen(text)}, buffer, bytes);
    return buffer;
}

static json_t *parse(struct hf_reader *r, const struct safetensors_source *file, const void *data,
                     size_t bytes, size_t offset)
{
    json_error_t e;
    char shown[128];
    json_t *root = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        hf_fail(r, -EINVAL, file, "JSON: %s (at byte %zu of %zu)",
                hf_show(e.text, shown, sizeof shown),
                offset + (e.position > 0 ? (size_t)e.position : 0), file->bytes);
    return root;
}

json_t *hf_json(struct hf_reader *r, const struct safetensors_source *file)
{
    return parse(r, file, file->data, file->bytes, 0);
}

// ---- one file's tensors -------------------------------------------------------------------------

struct tensors {
    struct hf_reader *r;
    struct gguf *index;
    struct gguf_tensor *list;
    size_t count, room;
    const struct safetensors_source *file; // now being read
    size_t data_at;                        // where its data begins
};

struct span {
    uint64_t begin, end; // within the data
    const char *name;
};

static int complain(struct tensors *t, int rc, const char *name, const char *what)
{
    char shown[96];
    return hf_fail(t->r, rc, t->file, "tensor '%s': %s", hf_show(name, shown, sizeof shown), what);
}

static int read_type(struct tensors *t, const char *name, json_t *entry, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t type;
    } known[] = {{"F32", TN_F32}, {"F16", TN_F16}, {"BF16", TN_BF16}};
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    char shown[24], what[80];
    for (size_t i = 0; type && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, type) == 0) {
            *out = known[i].type;
            return 0;
        }
    }
    snprintf(what, sizeof what, "dtype '%s' is not supported (F32, F16, BF16 are)",
             hf_show(type ? type : "(none)", shown, sizeof shown));
    return complain(t, -ENOTSUP, name, what);
}

// The shape, slowest first in the file; the number of values.
static int read_shape(struct tensors *t, const char *name, json_t *entry, struct gguf_tensor *out,
                      uint64_t *values)
{
    json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > 4)
        return complain(t, -EINVAL, name, "its shape is no list of at most four numbers");
    *values = 1;
    for (size_t i = 0; i < 4; i++)
        out->shape[i] = 1;
    for (size_t i = 0; i < n; i++) {
        json_t *d = json_array_get(shape, i);
        json_int_t size = json_is_integer(d) ? json_integer_value(d) : 0;
        if (size <= 0 || __builtin_mul_overflow(*values, (uint64_t)size, values) ||
            *values > INT64_MAX / 8)
            return complain(t, -EINVAL, name, "its shape has a number that cannot be");
        out->shape[n - 1 - i] = (uint64_t)size;
    }
    out->dims = (uint32_t)(n ? n : 1);
    return 0;
}

static int read_span(struct tensors *t, const char *name, json_t *entry, struct span *out)
{
    json_t *offsets = json_object_get(entry, "data_offsets");
    json_t *a = json_array_get(offsets, 0), *b = json_array_get(offsets, 1);
    uint64_t room = t->file->bytes - t->data_at;
    json_int_t begin = json_is_integer(a) ? json_integer_value(a) : -1;
    json_int_t end = json_is_integer(b) ? json_integer_value(b) : -1;
    char what[160];
    if (json_array_size(offsets) != 2 || begin < 0 || end < begin)
        return complain(t, -EINVAL, name, "its data_offsets are no pair of growing numbers");
    if ((uint64_t)end > room) {
        snprintf(what, sizeof what, "its data ends past the file (at byte %llu of %llu)",
                 (unsigned long long)end + t->data_at, (unsigned long long)t->file->bytes);
        return complain(t, -EINVAL, name, what);
    }
    *out = (struct span){(uint64_t)begin, (uint64_t)end, name};
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int check_overlap(struct tensors *t, struct span *spans, size_t count)
{
    char what[160], shown[64];
    qsort(spans, count, sizeof *spans, by_begin);
    for (size_t i = 1; i < count; i++) {
        if (spans[i].begin >= spans[i - 1].end)
            continue;
        snprintf(what, sizeof what, "its data overlaps that of '%s' (at byte %llu of %llu)",
                 hf_show(spans[i - 1].name, shown, sizeof shown),
                 (unsigned long long)spans[i].begin + t->data_at,
                 (unsigned long long)t->file->bytes);
        return complain(t, -EINVAL, spans[i].name, what);
    }
    return 0;
}

// ---- data as the model wants it -----------------------------------------------------------------

static float value_at(uint32_t type, const void *data, uint64_t i)
{
    float f;
    uint16_t h;
    const uint8_t *p = data;
    if (type == TN_F32) {
        memcpy(&f, p + 4 * i, 4);
        return f;
    }
    memcpy(&h, p + 2 * i, 2);
    return type == TN_F16 ? tn_f16_to_f32(h) : tn_bf16_to_f32(h);
}

static void transpose(const uint8_t *in, uint8_t *out, uint64_t rows, uint64_t columns, size_t each)
{
    enum { TILE = 64 }; // of both sides, so that each fits the cache
    for (uint64_t r0 = 0; r0 < rows; r0 += TILE) {
        for (uint64_t c0 = 0; c0 < columns; c0 += TILE) {
            for (uint64_t r = r0; r < rows && r < r0 + TILE; r++) {
                for (uint64_t c = c0; c < columns && c < c0 + TILE; c++)
                    memcpy(out + (c * rows + r) * each, in + (r * columns + c) * each, each);
            }
        }
    }
}

// Vectors become F32, Conv1D weights are transposed, data at odd places is moved: copies that
// belong to the index. Everything else stays in the file.
static int settle(struct tensors *t, const char *name, struct gguf_tensor *g, bool turn)
{
    uint64_t values = g->shape[0] * g->shape[1] * g->shape[2] * g->shape[3];
    bool vector = g->dims == 1 && g->type != TN_F32;
    if (turn && g->dims != 2)
        return complain(t, -EINVAL, name, "is no matrix");
    if (!vector && !turn && (uintptr_t)g->data % 8 == 0)
        return 0;
    size_t each = vector ? 4 : tn_type_info(g->type)->block_bytes;
    uint8_t *copy = malloc(values * each);
    if (!copy)
        return complain(t, -ENOMEM, name, "no memory for a copy of it");
    if (turn) {
        transpose(g->data, copy, g->shape[1], g->shape[0], each);
        uint64_t rows = g->shape[0];
        g->shape[0] = g->shape[1];
        g->shape[1] = rows;
    } else if (vector) {
        for (uint64_t i = 0; i < values; i++) {
            float f = value_at(g->type, g->data, i);
            memcpy(copy + 4 * i, &f, 4);
        }
        g->type = TN_F32;
    } else {
        memcpy(copy, g->data, values * each);
    }
    g->data = copy;
    g->bytes = values * each;
    return gguf_own(t->index, copy) ? complain(t, -ENOMEM, name, "no memory") : 0;
}

static int append(struct tensors *t, const char *name, struct gguf_tensor g)
{
    if (t->count == t->room) {
        size_t room = t->room * 2 + 256;
        struct gguf_tensor *more = realloc(t->list, room * sizeof *more);
        if (!more)
            return complain(t, -ENOMEM, name, "no memory");
        t->list = more;
        t->room = room;
    }
    t->list[t->count++] = g;
    return 0;
}

static int take_tensor(struct tensors *t, const char *name, json_t *entry, struct span *span)
{
    struct gguf_tensor g = {0};
    struct hf_name to;
    uint64_t values = 0;
    int rc = read_span(t, name, entry, span);
    bool known = hf_tensor_name(t->r->family, name, &to);
    if (rc || (known && to.ignored))
        return rc;
    if (!known || (to.layer != UINT32_MAX && to.layer >= t->r->layers))
        return complain(t, -ENOTSUP, name, "is none that the architecture has");
    if ((rc = read_type(t, name, entry, &g.type)) || (rc = read_shape(t, name, entry, &g, &values)))
        return rc;
    g.bytes = values * tn_type_info(g.type)->block_bytes;
    if (g.bytes != span->end - span->begin)
        return complain(t, -EINVAL, name, "its data_offsets do not fit its shape and dtype");
    if (strcmp(to.text, "output.weight") == 0 && t->r->tied)
        return 0;
    g.data = (const uint8_t *)t->file->data + t->data_at + span->begin;
    rc = settle(t, name, &g, to.transpose);
    if (rc)
        return rc;
    char *copy = strdup(to.text);
    if (!copy || gguf_own(t->index, copy))
        return complain(t, -ENOMEM, name, "no memory");
    g.name = (struct gguf_string){copy, strlen(copy)};
    return append(t, name, g);
}

static int read_file(struct tensors *t, const struct safetensors_source *file)
{
    uint64_t length;
    t->file = file;
    if (file->bytes < 8)
        return hf_fail(t->r, -EINVAL, file, "ends inside the header's length (at byte %zu of %zu)",
                       file->bytes, file->bytes);
    memcpy(&length, file->data, 8);
    if (length > MOST_HEADER || length > file->bytes - 8)
        return hf_fail(t->r, -EINVAL, file,
                       "claims a header of %llu bytes (at byte 0 of %zu): damaged, or no "
                       "safetensors file",
                       (unsigned long long)length, file->bytes);
    t->data_at = 8 + (size_t)length;
    json_t *header = parse(t->r, file, (const char *)file->data + 8, (size_t)length, 8);
    if (!header)
        return -EINVAL;
    size_t most = json_object_size(header), count = 0;
    struct span *spans = calloc(most ? most : 1, sizeof *spans);
    const char *name;
    json_t *entry;
    int rc = spans ? 0 : hf_fail(t->r, -ENOMEM, file, "no memory");
    if (!rc && !json_is_object(header))
        rc = hf_fail(t->r, -EINVAL, file, "its header is no JSON object (at byte 8 of %zu)",
                     file->bytes);
    json_object_foreach(header, name, entry)
    {
        if (rc || strcmp(name, "__metadata__") == 0)
            continue;
        if (!json_is_object(entry))
            rc = complain(t, -EINVAL, name, "is no object in the header");
        else
            rc = take_tensor(t, name, entry, &spans[count++]);
    }
    if (!rc)
        rc = check_overlap(t, spans, count);
    free(spans);
    json_decref(header);
    return rc;
}

// ---- the whole model ----------------------------------------------------------------------------

static int check_required(struct tensors *t)
{
    struct hf_required need;
    for (uint32_t layer = UINT32_MAX; layer == UINT32_MAX || layer < t->r->layers; layer++) {
        for (size_t i = 0; hf_required(t->r->family, i, layer, &need); i++) {
            if (!gguf_find(t->index, need.ours))
                return hf_fail(t->r, -ENOENT, &t->r->model->shards[0], "tensor '%s': is missing%s",
                               need.theirs, t->r->model->shard_count > 1 ? " (in all files)" : "");
        }
    }
    if (!t->r->tied && !gguf_find(t->index, "output.weight"))
        return hf_fail(t->r, -ENOENT, &t->r->model->shards[0],
                       "tensor 'lm_head.weight': is missing, and tie_word_embeddings is false");
    return 0;
}

static int add_rope_factors(struct tensors *t)
{
    if (!t->r->rope_factors)
        return 0;
    struct gguf_tensor g = {.name = {"rope_freqs.weight", 17},
                            .type = TN_F32,
                            .dims = 1,
                            .shape = {t->r->rope_factor_count, 1, 1, 1},
                            .data = t->r->rope_factors,
                            .bytes = (uint64_t)t->r->rope_factor_count * 4};
    float *factors = t->r->rope_factors;
    t->r->rope_factors = NULL; // the index's now
    if (gguf_own(t->index, factors))
        return complain(t, -ENOMEM, "rope_freqs.weight", "no memory");
    return append(t, "rope_freqs.weight", g);
}

// Gives the index its tensors.
static int install(struct tensors *t)
{
    struct gguf *g = t->index;
    uint32_t *order = realloc(g->tensor_order, (t->count ? t->count : 1) * sizeof *order);
    if (!order)
        return hf_fail(t->r, -ENOMEM, &t->r->model->shards[0], "no memory");
    free(g->tensor);
    g->tensor = t->list;
    g->tensor_order = order;
    g->tensor_count = t->count;
    t->list = NULL;
    const struct gguf_tensor *twice = gguf_order_tensors(g);
    char shown[72];
    if (!twice)
        return 0;
    gguf_show_name(twice->name, shown, sizeof shown);
    return hf_fail(t->r, -EINVAL, &t->r->model->shards[0], "two tensors become '%s'", shown);
}

static int open_tensors(struct hf_reader *r, struct gguf *index)
{
    struct tensors t = {.r = r, .index = index};
    int rc = 0;
    for (size_t i = 0; i < r->model->shard_count && !rc; i++)
        rc = read_file(&t, &r->model->shards[i]);
    if (!rc)
        rc = add_rope_factors(&t);
    if (!rc)
        rc = install(&t);
    free(t.list);
    return rc ? rc : check_required(&t);
}

static int read_keys(struct hf_reader *r)
{
    json_t *config = hf_json(r, &r->model->config), *tokenizer = NULL, *settings = NULL;
    int rc = config ? hf_config(r, config) : -EINVAL;
    if (!rc) {
        tokenizer = hf_json(r, &r->model->tokenizer);
        rc = tokenizer ? 0 : -EINVAL;
    }
    if (!rc && r->model->tokenizer_config.data) {
        settings = hf_json(r, &r->model->tokenizer_config);
        rc = settings ? 0 : -EINVAL;
    }
    if (!rc)
        rc = hf_tokenizer(r, tokenizer, settings);
    json_decref(config);
    json_decref(tokenizer);
    json_decref(settings);
    return rc;
}

int safetensors_open(const struct safetensors_model *m, struct gguf **out, char *error,
                     size_t error_bytes)
{
    struct hf_reader r = {
        .model = m, .keys = tn_gguf_writer_new(), .error = error, .error_bytes = error_bytes};
    struct gguf *index = NULL;
    void *head = NULL;
    size_t head_bytes;
    *out = NULL;
    if (!r.keys || !m->shard_count) {
        snprintf(error, error_bytes, r.keys ? "no safetensors file" : "no memory");
        tn_gguf_writer_free(r.keys);
        return r.keys ? -EINVAL : -ENOMEM;
    }
    int rc = read_keys(&r);
    if (!rc && (rc = tn_gguf_head(r.keys, &head, &head_bytes)))
        hf_fail(&r, rc, &m->config, "no memory for its keys");
    if (!rc)
        rc = gguf_open(head, head_bytes, &index, error, error_bytes);
    if (!rc) {
        index->data = NULL; // it is no file: names have no place in it
        index->bytes = 0;
        rc = gguf_own(index, head);
        head = NULL;
    }
    if (!rc)
        rc = open_tensors(&r, index);
    free(head);
    free(r.rope_factors);
    tn_gguf_writer_free(r.keys);
    if (rc)
        gguf_close(index);
    else
        *out = index;
    return rc;
}

// ---- model.safetensors.index.json ---------------------------------------------------------------

static bool is_plain(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 256;
}

static int collect(struct hf_reader *r, const struct safetensors_source *file, json_t *map,
                   char **names, size_t *count)
{
    const char *tensor;
    json_t *where, *seen = json_object();
    char shown[72];
    int rc = seen ? 0 : hf_fail(r, -ENOMEM, file, "no memory");
    json_object_foreach(map, tensor, where)
    {
        const char *name = json_string_value(where);
        if (rc)
            break;
        if (!name || !is_plain(name)) {
            rc = hf_fail(r, -EINVAL, file, "weight_map: '%s' names no file of the same folder",
                         hf_show(tensor, shown, sizeof shown));
        } else if (!json_object_get(seen, name)) {
            json_object_set_new(seen, name, json_true());
            names[*count] = strdup(name);
            rc = names[*count] ? 0 : hf_fail(r, -ENOMEM, file, "no memory");
            *count += !rc;
        }
    }
    json_decref(seen);
    return rc;
}

int safetensors_index(const struct safetensors_source *file, char ***names, size_t *count,
                      char *error, size_t error_bytes)
{
    struct hf_reader r = {.error = error, .error_bytes = error_bytes};
    *names = NULL;
    *count = 0;
    json_t *root = hf_json(&r, file);
    if (!root)
        return -EINVAL;
    json_t *map = json_object_get(root, "weight_map");
    int rc = 0;
    if (!json_is_object(map) || !json_object_size(map))
        rc = hf_fail(&r, -EINVAL, file, "weight_map: is missing or empty");
    else if (!(*names = calloc(json_object_size(map), sizeof **names)))
        rc = hf_fail(&r, -ENOMEM, file, "no memory");
    else
        rc = collect(&r, file, map, *names, count);
    json_decref(root);
    if (rc) {
        for (size_t i = 0; i < *count; i++)
            free((*names)[i]);
        free(*names);
        *names = NULL;
        *count = 0;
    }
    return rc;
}
