// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// YAML (libyaml's documents) as a JSON value in which every scalar is a text, and back from a way
// to a line. Aliases are followed; what they may grow to is bounded.
#include "hypercall/host/fleet/fields.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MOST_NODES = 20000, MOST_DEPTH = 16 };

struct document {
    yaml_document_t document;
    const char *file;
    size_t nodes; // made so far, aliases counted as often as they are used
    char *error;
    size_t error_bytes;
};

static int fail(const struct document *y, const yaml_mark_t *at, const char *what, const char *word)
{
    snprintf(y->error, y->error_bytes, "%s:%zu: %s%.60s", y->file, at->line + 1, what, word);
    return -EINVAL;
}

static bool is_null(const yaml_node_t *n)
{
    const char *t = (const char *)n->data.scalar.value;
    return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*t == 0 || strcmp(t, "~") == 0 || strcmp(t, "null") == 0);
}

static int convert(struct document *y, int index, unsigned depth, json_t **out);

static int convert_list(struct document *y, const yaml_node_t *n, unsigned depth, json_t *list)
{
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        json_t *item;
        int rc = convert(y, *i, depth, &item);
        if (rc) {
            return rc;
        }
        if (json_array_append_new(list, item) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int convert_map(struct document *y, const yaml_node_t *n, unsigned depth, json_t *map)
{
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&y->document, p->key);
        if (!key || key->type != YAML_SCALAR_NODE) {
            return fail(y, &n->start_mark, "a field's name must be a plain word", "");
        }
        const char *name = (const char *)key->data.scalar.value;
        if (strlen(name) != key->data.scalar.length) {
            return fail(y, &key->start_mark, "a field's name has a NUL character", "");
        }
        if (strcmp(name, "<<") == 0) {
            return fail(y, &key->start_mark, "merge keys (<<) are not supported", "");
        }
        if (json_object_get(map, name)) {
            return fail(y, &key->start_mark, "this field is there twice: ", name);
        }
        json_t *value;
        int rc = convert(y, p->value, depth, &value);
        if (rc) {
            return rc;
        }
        if (json_object_set_new(map, name, value) != 0) {
            return fail(y, &key->start_mark, "this name cannot be read: ", name);
        }
    }
    return 0;
}

static int convert(struct document *y, int index, unsigned depth, json_t **out)
{
    const yaml_node_t *n = yaml_document_get_node(&y->document, index);
    int rc = 0;
    if (!n || ++y->nodes > MOST_NODES) {
        const yaml_mark_t none = {0};
        return fail(y, n ? &n->start_mark : &none,
                    "too many entries (aliases count as often as "
                    "they are used)",
                    "");
    }
    if (depth > MOST_DEPTH) {
        return fail(y, &n->start_mark, "too deep", "");
    }
    if (n->type == YAML_SCALAR_NODE) {
        *out = is_null(n) ? json_null()
                          : json_stringn((const char *)n->data.scalar.value, n->data.scalar.length);
    } else if (n->type == YAML_SEQUENCE_NODE) {
        *out = json_array();
        rc = *out ? convert_list(y, n, depth + 1, *out) : 0;
    } else {
        *out = json_object();
        rc = *out ? convert_map(y, n, depth + 1, *out) : 0;
    }
    if (rc) {
        json_decref(*out);
        return rc;
    }
    return *out ? 0 : fail(y, &n->start_mark, "this text cannot be read", "");
}

static int say_parser(const yaml_parser_t *p, const struct document *y)
{
    if (p->error == YAML_MEMORY_ERROR) {
        snprintf(y->error, y->error_bytes, "%s: no memory", y->file);
        return -ENOMEM;
    }
    if (p->error == YAML_READER_ERROR) {
        snprintf(y->error, y->error_bytes, "%s: byte %zu: %s", y->file, p->problem_offset,
                 p->problem ? p->problem : "cannot be read");
        return -EINVAL;
    }
    snprintf(y->error, y->error_bytes, "%s:%zu: no valid YAML: %s%s%s", y->file,
             p->problem_mark.line + 1, p->problem ? p->problem : "cannot be read",
             p->context ? ", " : "", p->context ? p->context : "");
    return -EINVAL;
}

// A second document would be silently left out.
static int nothing_follows(yaml_parser_t *p, struct document *y)
{
    yaml_document_t more;
    if (!yaml_parser_load(p, &more)) {
        return say_parser(p, y);
    }
    const yaml_node_t *root = yaml_document_get_root_node(&more);
    int rc =
        root ? fail(y, &root->start_mark, "a second document begins here; one is read", "") : 0;
    yaml_document_delete(&more);
    return rc;
}

int document_load(const char *text, size_t bytes, const char *file, struct document **document,
                  json_t **out, char *error, size_t error_bytes)
{
    struct document *y = calloc(1, sizeof *y);
    yaml_parser_t parser;
    *out = NULL;
    *document = NULL;
    if (!y || !yaml_parser_initialize(&parser)) {
        free(y);
        snprintf(error, error_bytes, "%s: no memory", file);
        return -ENOMEM;
    }
    y->file = file;
    y->error = error;
    y->error_bytes = error_bytes;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (!yaml_parser_load(&parser, &y->document)) {
        int rc = say_parser(&parser, y);
        yaml_parser_delete(&parser);
        free(y);
        return rc;
    }
    int rc = 0;
    if (!yaml_document_get_root_node(&y->document)) {
        snprintf(error, error_bytes, "%s: is empty", file);
        rc = -EINVAL;
    }
    rc = rc ? rc : nothing_follows(&parser, y);
    rc = rc ? rc : convert(y, 1, 0, out);
    yaml_parser_delete(&parser);
    if (rc) {
        document_free(y);
        *out = NULL;
        return rc;
    }
    *document = y;
    return 0;
}

size_t document_line(const struct document *y, const struct step *steps, size_t depth)
{
    yaml_document_t *d = (yaml_document_t *)(uintptr_t)&y->document; // libyaml knows no const
    const yaml_node_t *n = yaml_document_get_root_node(d);
    size_t line = n->start_mark.line;
    for (size_t i = 0; i < depth && n; i++) {
        const yaml_node_t *next = NULL;
        if (!steps[i].key && n->type == YAML_SEQUENCE_NODE) {
            yaml_node_item_t *item = n->data.sequence.items.start + steps[i].index;
            next = item < n->data.sequence.items.top ? yaml_document_get_node(d, *item) : NULL;
            line = next ? next->start_mark.line : line;
        } else if (steps[i].key && n->type == YAML_MAPPING_NODE) {
            for (yaml_node_pair_t *p = n->data.mapping.pairs.start;
                 p < n->data.mapping.pairs.top && !next; p++) {
                const yaml_node_t *key = yaml_document_get_node(d, p->key);
                if (strcmp((const char *)key->data.scalar.value, steps[i].key) == 0) {
                    next = yaml_document_get_node(d, p->value);
                    line = key->start_mark.line;
                }
            }
        }
        n = next;
    }
    return line + 1;
}

void document_free(struct document *y)
{
    if (y) {
        yaml_document_delete(&y->document);
        free(y);
    }
}
