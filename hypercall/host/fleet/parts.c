// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The parts of a model's specification: its file, settings, names, health check, autoscale, canary.
#include "hypercall/host/fleet/parts.h"

#include "hypercall/host/fleet/plan.h"
#include "hypercall/host/machine/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int push(struct reader *r, const char *key, size_t index)
{
    if (r->depth == READER_DEPTH) {
        return reader_fail(r, "too deep");
    }
    r->steps[r->depth++] = (struct step){.key = key, .index = index};
    return 0;
}

static json_t *write_table(const struct field *table, const void *object)
{
    json_t *o = json_object();
    if (o && !fields_write(table, object, o)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

// ---- a variant ---------------------------------------------------------------------------------

// A path has a '/' or ends in .gguf; anything else is the name of an installed model.
int read_model_file(struct reader *r, const json_t *value, void *object)
{
    struct fleet_variant *v = object;
    char text[FLEET_PATH];
    if (!scalar_text(value, text, sizeof text) || !*text) {
        return reader_fail(r, json_is_null(value) || json_is_string(value)
                                  ? "is empty, too long, or has characters that are none"
                                  : "must be a single value");
    }
    size_t n = strlen(text);
    bool is_path = strchr(text, '/') || (n > 5 && strcmp(text + n - 5, ".gguf") == 0);
    int length = is_path && text[0] != '/' && !r->normal
                     ? snprintf(v->model, sizeof v->model, "%s/%s", r->folder, text)
                     : snprintf(v->model, sizeof v->model, "%s", text);
    return length >= 0 && (size_t)length < sizeof v->model
               ? 0
               : reader_fail(r, "this path is too long");
}

json_t *write_model_file(const void *object)
{
    return json_string(((const struct fleet_variant *)object)->model);
}

// Fewer than one CPU is none; the normal form's 0 leaves the choice to the tool.
int read_vcpus(struct reader *r, const json_t *value, void *object)
{
    char text[32], *end;
    unsigned long n = 0;
    if (!scalar_text(value, text, sizeof text) || *text < '0' || *text > '9' ||
        (n = strtoul(text, &end, 10), *end) || n > 64 || (n == 0 && !r->normal)) {
        return reader_fail(r, "'%.30s' is no whole number (1 to 64)",
                           json_is_string(value) ? json_string_value(value) : "?");
    }
    ((struct fleet_variant *)object)->vcpus = (uint32_t)n;
    return 0;
}

json_t *write_vcpus(const void *object)
{
    return json_integer(((const struct fleet_variant *)object)->vcpus);
}

// The guest's settings that are the user's to choose; the others come from the fields above.
static const char *const setting_names[] = {
    "engine.context", "engine.isa", "engine.slots", "log",        "offload.spin", "sched.cpus",
    "shell",          "zone.dma",   "zone.kernel",  "zone.model", "zone.store",   "zone.tensor"};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct fleet_setting *)a)->key, ((const struct fleet_setting *)b)->key);
}

int read_settings(struct reader *r, const json_t *value, void *object)
{
    struct fleet_variant *v = object;
    const size_t names = sizeof setting_names / sizeof *setting_names;
    const char *key;
    json_t *member;
    if (!json_is_object(value)) {
        return reader_fail(r, "must be a group like {engine.context: 4096}");
    }
    v->setting_count = 0;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        size_t i = 0;
        while (i < names && strcmp(setting_names[i], key) != 0) {
            i++;
        }
        if (i == names) {
            const char *near = nearest_name(key, setting_names, names);
            return near ? reader_fail_at(r, key, "no such setting; did you mean '%s'?", near)
                        : reader_fail_at(r, key, "no setting that can be chosen here");
        }
        _Static_assert(sizeof setting_names / sizeof *setting_names <= FLEET_MOST_SETTINGS, "room");
        struct fleet_setting *s = &v->settings[v->setting_count];
        if (!scalar_text(member, s->value, sizeof s->value) || !machine_word_is_valid(s->value)) {
            return reader_fail_at(r, key,
                                  "must be printable ASCII without blanks and quotes, at "
                                  "most %d characters",
                                  FLEET_WORD - 1);
        }
        snprintf(s->key, sizeof s->key, "%s", key);
        v->setting_count++;
    }
    qsort(v->settings, v->setting_count, sizeof *v->settings, by_key);
    return 0;
}

json_t *write_settings(const void *object)
{
    const struct fleet_variant *v = object;
    json_t *o = json_object();
    for (size_t i = 0; o && i < v->setting_count; i++) {
        if (json_object_set_new(o, v->settings[i].key, json_string(v->settings[i].value)) != 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

// ---- a model -----------------------------------------------------------------------------------

int read_aliases(struct reader *r, const json_t *value, void *object)
{
    struct fleet_model *m = object;
    if (!json_is_array(value) || json_array_size(value) > FLEET_MOST_ALIASES) {
        return reader_fail(r, "must be a list of at most %d names", FLEET_MOST_ALIASES);
    }
    m->alias_count = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        char *alias = m->aliases[m->alias_count];
        int rc = push(r, NULL, i);
        if (rc) {
            return rc;
        }
        if (!scalar_text(json_array_get(value, i), alias, FLEET_ALIAS) ||
            !fleet_alias_is_valid(alias)) {
            return reader_fail(r, "must be letters, digits and ._-:/@+, at most %d of them",
                               FLEET_ALIAS - 1);
        }
        m->alias_count++;
        r->depth--;
    }
    return 0;
}

json_t *write_aliases(const void *object)
{
    const struct fleet_model *m = object;
    json_t *list = json_array();
    for (size_t i = 0; list && i < m->alias_count; i++) {
        if (json_array_append_new(list, json_string(m->aliases[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

int read_health(struct reader *r, const json_t *value, void *object)
{
    return fields_read(r, health_fields, value, &((struct fleet_model *)object)->health);
}

json_t *write_health(const void *object)
{
    return write_table(health_fields, &((const struct fleet_model *)object)->health);
}

int read_autoscale(struct reader *r, const json_t *value, void *object)
{
    struct fleet_autoscale *a = &((struct fleet_model *)object)->autoscale;
    int rc = fields_read(r, autoscale_fields, value, a);
    if (rc) {
        return rc;
    }
    a->enabled = true;
    if (a->min > a->max) {
        return reader_fail(r, "min (%u) is more than max (%u)", a->min, a->max);
    }
    if (a->p95_ms == 0 && a->queue == 0) {
        if (json_object_get(value, "p95") || json_object_get(value, "queue")) {
            return reader_fail(r, "neither p95 nor queue has a target");
        }
        a->queue = 4;
    }
    return 0;
}

json_t *write_autoscale(const void *object)
{
    const struct fleet_model *m = object;
    return m->autoscale.enabled ? write_table(autoscale_fields, &m->autoscale) : json_null();
}

// Says only what is different from the model itself.
int read_canary(struct reader *r, const json_t *value, void *object)
{
    struct fleet_model *m = object;
    m->has_canary = true;
    m->canary = m->variant;
    if (!r->normal) {
        m->canary.model_identity[0] = m->canary.image_identity[0] = 0;
    }
    r->is_partial = true;
    int rc = fields_read(r, canary_fields, value, m);
    r->is_partial = false;
    if (rc) {
        return rc;
    }
    return fleet_variant_differs(&m->canary, &m->variant)
               ? 0
               : reader_fail(r, "nothing differs from the model itself; give it a model, image or "
                                "setting of its own");
}

json_t *write_canary(const void *object)
{
    const struct fleet_model *m = object;
    return m->has_canary ? write_table(canary_fields, m) : json_null();
}
