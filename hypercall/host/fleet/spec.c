// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A specification as a whole: from fleet.yaml and from its normal form, and what several fields
// must agree on.
#include "hypercall/host/base/files.h"
#include "hypercall/host/fleet/fields.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fleet_defaults(struct fleet_spec *s)
{
    memset(s, 0, sizeof *s);
    snprintf(s->endpoint.host, sizeof s->endpoint.host, "127.0.0.1");
    s->endpoint.drain_ms = 120000;
    s->endpoint.timeout_ms = 600000;
    s->endpoint.port = 8000;
}

void model_defaults(struct fleet_model *m)
{
    memset(m, 0, sizeof *m);
    m->replicas = 1;
    m->canary_replicas = 1;
    m->variant.offload_share = 100;
    m->variant.priority = 1024;
    m->health = (struct fleet_health){
        .interval_ms = 2000, .timeout_ms = 1000, .fall = 3, .rise = 1, .start_ms = 60000};
    snprintf(m->health.path, sizeof m->health.path, "/health");
    m->autoscale =
        (struct fleet_autoscale){.min = 1, .max = 1, .cooldown_ms = 60000, .idle_ms = 300000};
}

void fleet_spec_free(struct fleet_spec *s)
{
    free(s->endpoint.keys);
    free(s->models);
    memset(s, 0, sizeof *s);
}

struct fleet_model *fleet_find(const struct fleet_spec *s, const char *service)
{
    for (size_t i = 0; i < s->model_count; i++) {
        if (strcmp(s->models[i].name, service) == 0) {
            return &s->models[i];
        }
    }
    return NULL;
}

// ---- what several fields must agree on ---------------------------------------------------------

static int at_model(struct reader *r, size_t i, const char *field)
{
    r->depth = 0;
    r->steps[r->depth++].key = "models";
    r->steps[r->depth++] = (struct step){.key = NULL, .index = i};
    if (field) {
        r->steps[r->depth++].key = field;
    }
    return 0;
}

// Does the name mean another model, or this one a second time?
static bool is_taken(const struct fleet_spec *s, size_t model, size_t alias, const char *name)
{
    for (size_t i = 0; i <= model; i++) {
        const struct fleet_model *m = &s->models[i];
        if (strcmp(m->name, name) == 0 && !(i == model && alias == SIZE_MAX)) {
            return true;
        }
        size_t end = i == model ? (alias == SIZE_MAX ? 0 : alias) : m->alias_count;
        for (size_t j = 0; j < end; j++) {
            if (strcmp(m->aliases[j], name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static int check_names(struct reader *r, const struct fleet_spec *s)
{
    for (size_t i = 0; i < s->model_count; i++) {
        const struct fleet_model *m = &s->models[i];
        if (is_taken(s, i, SIZE_MAX, m->name)) {
            at_model(r, i, "name");
            return reader_fail(r, "'%s' names another model already", m->name);
        }
        for (size_t j = 0; j < m->alias_count; j++) {
            if (is_taken(s, i, j, m->aliases[j])) {
                at_model(r, i, "aliases");
                r->steps[r->depth++] = (struct step){.key = NULL, .index = j};
                return reader_fail(r, "'%s' names a model already", m->aliases[j]);
            }
        }
    }
    return 0;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static int fleet_check(struct reader *r, struct fleet_spec *s)
{
    const struct fleet_endpoint *e = &s->endpoint;
    uint32_t guests = 0;
    int rc = check_names(r, s);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < s->model_count; i++) {
        const struct fleet_model *m = &s->models[i];
        const struct fleet_autoscale *a = &m->autoscale;
        if (a->enabled && (m->replicas < a->min || m->replicas > a->max)) {
            at_model(r, i, "replicas");
            return reader_fail(r, "%u is outside of autoscale's bounds (%u to %u)", m->replicas,
                               a->min, a->max);
        }
        guests += (a->enabled ? a->max : m->replicas) + (m->has_canary ? m->canary_replicas : 0);
        if (guests > FLEET_MOST_REPLICAS) {
            at_model(r, i, NULL);
            return reader_fail(r,
                               "with this model the fleet has up to %u guests; at most %d are "
                               "possible",
                               guests, FLEET_MOST_REPLICAS);
        }
    }
    if (!is_loopback(e->host) && !e->keys_file[0] && e->key_count == 0 && !e->insecure) {
        r->depth = 0;
        r->steps[r->depth++].key = "endpoint";
        r->steps[r->depth++].key = "listen";
        return reader_fail(r,
                           "%s can be reached from other machines and no keys are set; add "
                           "`keys:`, listen on 127.0.0.1, or say `insecure: true`",
                           e->host);
    }
    return 0;
}

// ---- reading -----------------------------------------------------------------------------------

static int read_spec(struct reader *r, const json_t *value, struct fleet_spec *out)
{
    fleet_defaults(out);
    int rc = fields_read(r, fleet_fields, value, out);
    return rc ? rc : fleet_check(r, out);
}

int fleet_spec_parse(const char *yaml, size_t bytes, const char *file, const char *folder,
                     struct fleet_spec *out, char *error, size_t error_bytes)
{
    char message[600] = "";
    struct reader r = {.folder = folder, .error = message, .error_bytes = sizeof message};
    struct document *document;
    json_t *value;
    memset(out, 0, sizeof *out);
    if (bytes > FLEET_MOST_BYTES) {
        snprintf(error, error_bytes, "%s: has more than %d KB", file, FLEET_MOST_BYTES >> 10);
        return -E2BIG;
    }
    int rc = document_load(yaml, bytes, file, &document, &value, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = read_spec(&r, value, out);
    if (rc) {
        snprintf(error, error_bytes, "%s:%zu: %s", file, document_line(document, r.steps, r.depth),
                 message);
        fleet_spec_free(out);
    }
    json_decref(value);
    document_free(document);
    return rc;
}

int fleet_spec_read(const char *path, struct fleet_spec *out, char *error, size_t error_bytes)
{
    char *real = realpath(path, NULL), *text = NULL;
    size_t bytes;
    int rc = real ? file_load(real, FLEET_MOST_BYTES, &text, &bytes) : -errno;
    memset(out, 0, sizeof *out);
    if (rc == -EFBIG) {
        snprintf(error, error_bytes, "%s: has more than %d KB", path, FLEET_MOST_BYTES >> 10);
    } else if (rc) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
    } else {
        *strrchr(real, '/') = 0; // a real path has one
        rc = fleet_spec_parse(text, bytes, path, real, out, error, error_bytes);
    }
    free(text);
    free(real);
    return rc;
}

// ---- the normal form ---------------------------------------------------------------------------

static json_t *to_json(const struct field *table, const void *object)
{
    json_t *o = json_object();
    if (o && !fields_write(table, object, o)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *fleet_spec_to_json(const struct fleet_spec *s)
{
    return to_json(fleet_fields, s);
}

json_t *fleet_variant_to_json(const struct fleet_variant *v)
{
    return to_json(variant_fields, v);
}

int fleet_spec_from_json(const json_t *json, struct fleet_spec *out, char *error,
                         size_t error_bytes)
{
    struct reader r = {.folder = "", .normal = true, .error = error, .error_bytes = error_bytes};
    int rc = read_spec(&r, json, out);
    if (rc) {
        fleet_spec_free(out);
    }
    return rc;
}

int fleet_variant_from_json(const json_t *json, struct fleet_variant *out, char *error,
                            size_t error_bytes)
{
    struct reader r = {.folder = "", .normal = true, .error = error, .error_bytes = error_bytes};
    struct fleet_model m;
    model_defaults(&m);
    *out = m.variant;
    return fields_read(&r, variant_fields, json, out);
}

// ---- schema ------------------------------------------------------------------------------------

__asm__(".pushsection .rodata\n"
        "fleet_schema_text:\n"
        ".incbin \"hypercall/host/fleet/fleet.schema.json\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char fleet_schema_text[];

const char *fleet_schema(void)
{
    return fleet_schema_text;
}
