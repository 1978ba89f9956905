// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// index.json as text: what others wrote is read with distrust, what is written can be read.
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

// A text that is cut where it is too long. Without control characters.
static bool get_plain(const json_t *o, const char *field, char *out, size_t room)
{
    const json_t *value = json_object_get(o, field);
    const char *text = json_string_value(value);
    pk_plain(out, room, text ? text : "");
    return !value || text;
}

// A text that must be as it is.
static bool get_exact(const json_t *o, const char *field, char *out, size_t room)
{
    const json_t *value = json_object_get(o, field);
    const char *text = json_string_value(value);
    if (!text || strlen(text) >= room || strlen(text) != json_string_length(value)) {
        return false;
    }
    pk_plain(out, room, text);
    return out[0] && strcmp(out, text) == 0;
}

// The first thing that is wrong, NULL: nothing.
static const char *read_model(const json_t *o, struct packages_model *m)
{
    const json_t *size = json_object_get(o, "size");
    *m = (struct packages_model){0};
    if (!json_is_object(o)) {
        return "is no object";
    }
    if (!get_exact(o, "name", m->name, sizeof m->name) || !packages_name_is_valid(m->name)) {
        return "name: is none (letters, digits, '.', '_' and '-', at most 96)";
    }
    if (!get_exact(o, "file", m->file, sizeof m->file)) {
        return "file: is no path or URL";
    }
    if (!get_exact(o, "sha256", m->sha256, sizeof m->sha256) || !pk_is_sha256(m->sha256)) {
        return "sha256: is not 64 small hexadecimal digits";
    }
    if (size && (!json_is_integer(size) || json_integer_value(size) <= 0)) {
        return "size: is no number of bytes";
    }
    m->size = (uint64_t)json_integer_value(size);
    bool texts = get_plain(o, "description", m->description, sizeof m->description) &&
                 get_plain(o, "licence", m->licence, sizeof m->licence) &&
                 get_plain(o, "architecture", m->architecture, sizeof m->architecture) &&
                 get_plain(o, "type", m->type, sizeof m->type);
    return texts ? NULL : "description, licence, architecture or type: is no text";
}

static int read_models(const json_t *list, struct packages_model **out, size_t *count, char *error,
                       size_t error_bytes)
{
    size_t n = json_array_size(list);
    struct packages_model *models = NULL;
    if (!json_is_array(list) || n > INDEX_MOST_MODELS) {
        snprintf(error, error_bytes, "models: is no list of at most %d", INDEX_MOST_MODELS);
        return -EINVAL;
    }
    // Grown as they prove right: a list of nothings costs nothing.
    for (size_t i = 0, room = 0; i < n; i++) {
        if (i == room) {
            room = room ? 2 * room : 16;
            struct packages_model *more = realloc(models, room * sizeof *models);
            if (!more) {
                free(models);
                snprintf(error, error_bytes, "no memory");
                return -ENOMEM;
            }
            models = more;
        }
        const char *what = read_model(json_array_get(list, i), &models[i]);
        if (what) {
            snprintf(error, error_bytes, "model %zu%s%s: %s", i + 1, models[i].name[0] ? ", " : "",
                     models[i].name, what);
            free(models);
            return -EINVAL;
        }
    }
    *out = models;
    *count = n;
    return 0;
}

int pk_index_parse(const char *text, size_t bytes, struct packages_model **out, size_t *count,
                   char *error, size_t error_bytes)
{
    json_error_t why;
    json_t *o = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        char reason[JSON_ERROR_TEXT_LENGTH];
        pk_plain(reason, sizeof reason, why.text);
        snprintf(error, error_bytes, "line %d: %s", why.line, reason);
        return -EINVAL;
    }
    int rc = read_models(json_object_get(o, "models"), out, count, error, error_bytes);
    json_decref(o);
    return rc;
}

static bool put(json_t *o, const char *field, const char *text)
{
    return !text[0] || json_object_set_new(o, field, json_string(text)) == 0;
}

char *pk_index_text(const struct packages_model *models, size_t count)
{
    json_t *root = json_object(), *list = json_array();
    bool good = root && json_object_set(root, "models", list) == 0;
    for (size_t i = 0; i < count && good; i++) {
        const struct packages_model *m = &models[i];
        json_t *o = json_object();
        good = o && put(o, "name", m->name) && put(o, "file", m->file) &&
               put(o, "sha256", m->sha256) &&
               (!m->size || json_object_set_new(o, "size", json_integer((json_int_t)m->size)) == 0);
        good = good && put(o, "description", m->description) && put(o, "licence", m->licence) &&
               put(o, "architecture", m->architecture) && put(o, "type", m->type);
        good = json_array_append_new(list, o) == 0 && good;
    }
    char *text = good ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(list);
    json_decref(root);
    return text;
}
