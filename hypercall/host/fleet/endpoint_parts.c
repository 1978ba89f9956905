// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The endpoint's parts of a specification, and the list of models.
#include "hypercall/host/fleet/parts.h"

#include "hypercall/host/machine/machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "127.0.0.1:8000", "[::1]:8000", "localhost:8000".
int read_listen(struct reader *r, const json_t *value, void *object)
{
    struct fleet_endpoint *e = object;
    char text[100] = "", *port, *end;
    const char *host = text;
    unsigned char address[16];
    bool good = scalar_text(value, text, sizeof text) && (port = strrchr(text, ':'));
    unsigned long number = 0;
    if (good) {
        *port++ = 0;
        number = *port >= '0' && *port <= '9' ? strtoul(port, &end, 10) : 0;
        good = number >= 1 && number <= 65535 && *end == 0;
        size_t n = strlen(text);
        if (text[0] == '[' && n > 2 && text[n - 1] == ']') {
            text[n - 1] = 0;
            host = text + 1;
            good = good && inet_pton(AF_INET6, host, address) == 1;
        } else {
            host = strcmp(text, "localhost") == 0 ? "127.0.0.1" : text;
            good = good && inet_pton(AF_INET, host, address) == 1;
        }
    }
    if (!good || strlen(host) >= sizeof e->host) {
        return reader_fail(r, "must be an address and a port, like 127.0.0.1:8000 or [::1]:8000");
    }
    memcpy(e->host, host, strlen(host) + 1);
    e->port = (uint32_t)number;
    return 0;
}

json_t *write_listen(const void *object)
{
    const struct fleet_endpoint *e = object;
    bool is_six = strchr(e->host, ':') != NULL;
    char text[100];
    snprintf(text, sizeof text, "%s%s%s:%u", is_six ? "[" : "", e->host, is_six ? "]" : "",
             e->port);
    return json_string(text);
}

int read_tls(struct reader *r, const json_t *value, void *object)
{
    return fields_read(r, tls_fields, value, object);
}

json_t *write_tls(const void *object)
{
    json_t *o =
        ((const struct fleet_endpoint *)object)->certificate[0] ? json_object() : json_null();
    if (json_is_object(o) && !fields_write(tls_fields, object, o)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

// A file's path, or the keys themselves.
int read_keys(struct reader *r, const json_t *value, void *object)
{
    struct fleet_endpoint *e = object;
    if (!json_is_array(value)) {
        char text[FLEET_PATH];
        if (!scalar_text(value, text, sizeof text) || !*text) {
            return reader_fail(r, "must be a file with one key a line, or a list of keys");
        }
        int n = snprintf(e->keys_file, sizeof e->keys_file, "%s%s%s",
                         text[0] == '/' ? "" : r->folder, text[0] == '/' ? "" : "/", text);
        return n >= 0 && (size_t)n < sizeof e->keys_file ? 0
                                                         : reader_fail(r, "this path is too long");
    }
    size_t count = json_array_size(value);
    if (count == 0 || count > FLEET_MOST_KEYS) {
        return reader_fail(r, "must have 1 to %d keys", FLEET_MOST_KEYS);
    }
    e->keys = calloc(count, sizeof *e->keys);
    if (!e->keys) {
        return reader_fail(r, "no memory");
    }
    for (; e->key_count < count; e->key_count++) {
        char *key = e->keys[e->key_count];
        if (r->depth == READER_DEPTH) {
            return reader_fail(r, "too deep");
        }
        r->steps[r->depth++] = (struct step){.key = NULL, .index = e->key_count};
        if (!scalar_text(json_array_get(value, e->key_count), key, FLEET_WORD) ||
            !machine_word_is_valid(key)) {
            return reader_fail(r,
                               "a key must be printable ASCII without blanks and quotes, at "
                               "most %d characters",
                               FLEET_WORD - 1);
        }
        r->depth--;
    }
    return 0;
}

json_t *write_keys(const void *object)
{
    const struct fleet_endpoint *e = object;
    if (e->keys_file[0]) {
        return json_string(e->keys_file);
    }
    json_t *list = e->key_count ? json_array() : json_null();
    for (size_t i = 0; list && i < e->key_count; i++) {
        if (json_array_append_new(list, json_string(e->keys[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

int read_endpoint(struct reader *r, const json_t *value, void *object)
{
    return fields_read(r, endpoint_fields, value, &((struct fleet_spec *)object)->endpoint);
}

json_t *write_endpoint(const void *object)
{
    json_t *o = json_object();
    if (o && !fields_write(endpoint_fields, &((const struct fleet_spec *)object)->endpoint, o)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

int read_models(struct reader *r, const json_t *value, void *object)
{
    struct fleet_spec *s = object;
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0 || count > FLEET_MOST_MODELS) {
        return reader_fail(r, "must be a list of 1 to %d models", FLEET_MOST_MODELS);
    }
    s->models = calloc(count, sizeof *s->models);
    if (!s->models) {
        return reader_fail(r, "no memory");
    }
    for (; s->model_count < count; s->model_count++) {
        struct fleet_model *m = &s->models[s->model_count];
        const json_t *item = json_array_get(value, s->model_count);
        model_defaults(m);
        r->steps[r->depth++] = (struct step){.key = NULL, .index = s->model_count};
        int rc = fields_read(r, model_fields, item, m);
        if (rc) {
            s->model_count++;
            return rc;
        }
        if (m->autoscale.enabled && !json_object_get(item, "replicas")) {
            m->replicas = m->autoscale.min ? m->autoscale.min : 1;
        }
        r->depth--;
    }
    return 0;
}

json_t *write_models(const void *object)
{
    const struct fleet_spec *s = object;
    json_t *list = json_array();
    for (size_t i = 0; list && i < s->model_count; i++) {
        json_t *o = json_object();
        if (!o || !fields_write(model_fields, &s->models[i], o) ||
            json_array_append(list, o) != 0) {
            json_decref(list);
            list = NULL;
        }
        json_decref(o);
    }
    return list;
}
