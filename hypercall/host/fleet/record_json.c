// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's record as JSON text and back. What libvirt hands back may have been edited by hand:
// every field is checked.
#include "hypercall/host/fleet/record.h"

#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

// ---- printing ----------------------------------------------------------------------------------

static json_t *print_counters(const struct fleet_counters *c)
{
    return json_pack("{s:I,s:I,s:I}", "requests", (json_int_t)c->requests, "errors",
                     (json_int_t)c->errors, "total_ms", (json_int_t)c->total_ms);
}

static json_t *print_deployment(const struct fleet_deployment *d)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < d->step_count; i++) {
        json_array_append_new(steps, json_integer(d->steps[i]));
    }
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:o,s:o,s:i,s:i,s:I,s:I,s:{s:f,s:f,s:i,s:i,s:i},s:b,s:s,s:o,s:o}",
        "strategy", fleet_strategy_name(d->strategy), "phase", fleet_phase_name(d->phase), "from",
        d->from, "to", d->to, "variant", fleet_variant_to_json(&d->variant), "steps", steps, "step",
        (int)d->step, "weight", (int)d->weight, "started_ms", (json_int_t)d->started_ms, "since_ms",
        (json_int_t)d->since_ms, "limits", "error_rate", d->limits.error_rate, "latency_ratio",
        d->limits.latency_ratio, "requests", (int)d->limits.requests, "step_ms",
        (int)d->limits.step_ms, "ready_ms", (int)d->limits.ready_ms, "hold", (int)d->hold, "reason",
        d->reason, "base_from", print_counters(&d->base_from), "base_to",
        print_counters(&d->base_to));
}

static json_t *print_service(const struct fleet_service *s)
{
    json_t *o = json_pack("{s:s,s:i,s:I}", "name", s->name, "stable_slot", (int)s->stable_slot,
                          "scaled_ms", (json_int_t)s->scaled_ms);
    if (o && s->has_replicas && json_object_set_new(o, "replicas", json_integer(s->replicas))) {
        json_decref(o);
        return NULL;
    }
    if (o && s->has_deployment &&
        json_object_set_new(o, "deployment", print_deployment(&s->deployment))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *fleet_record_print(const struct fleet_record *r)
{
    json_t *services = json_array();
    bool good = services != NULL;
    for (size_t i = 0; good && i < r->service_count; i++) {
        good = json_array_append_new(services, print_service(&r->services[i])) == 0;
    }
    json_t *o = json_pack("{s:i,s:I,s:s,s:b,s:o,s:o}", "format", FORMAT, "generation",
                          (json_int_t)r->generation, "internal_key", r->internal_key, "down",
                          (int)r->down, "spec", fleet_spec_to_json(&r->spec), "services", services);
    good =
        good && o && (r->owner < 0 || json_object_set_new(o, "owner", json_integer(r->owner)) == 0);
    char *text = good ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    return text;
}

// ---- parsing -----------------------------------------------------------------------------------

struct look {
    const char *where; // the service's name, or ""
    char *error;
    size_t error_bytes;
    int rc;
};

static void fail(struct look *l, const char *field)
{
    if (l->rc == 0) {
        snprintf(l->error, l->error_bytes, "the fleet's record is damaged: %s%s%s", l->where,
                 l->where[0] ? ": " : "", field);
        l->rc = -EINVAL;
    }
}

static int64_t get_number(struct look *l, const json_t *o, const char *name, int64_t least,
                          int64_t most)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most) {
        fail(l, name);
        return least;
    }
    return json_integer_value(v);
}

static double get_real(struct look *l, const json_t *o, const char *name, double most)
{
    double v = json_number_value(json_object_get(o, name));
    if (!json_is_number(json_object_get(o, name)) || !(v >= 0 && v <= most)) {
        fail(l, name);
        return 0;
    }
    return v;
}

static void get_text(struct look *l, const json_t *o, const char *name, char *out, size_t room)
{
    const json_t *v = json_object_get(o, name);
    const char *text = json_string_value(v);
    if (!text || strlen(text) != json_string_length(v) || strlen(text) >= room ||
        !text_is_clean(text)) {
        fail(l, name);
        out[0] = 0;
        return;
    }
    memcpy(out, text, strlen(text) + 1);
}

static bool get_bool(struct look *l, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_boolean(v)) {
        fail(l, name);
    }
    return json_is_true(v);
}

static int get_choice(struct look *l, const json_t *o, const char *name,
                      const char *(*name_of)(int), int count)
{
    const char *text = json_string_value(json_object_get(o, name));
    for (int i = 0; text && i < count; i++) {
        if (strcmp(text, name_of(i)) == 0) {
            return i;
        }
    }
    fail(l, name);
    return 0;
}

static const char *strategy_at(int i)
{
    return fleet_strategy_name((enum fleet_strategy)i);
}

static const char *phase_at(int i)
{
    return fleet_phase_name((enum fleet_phase)i);
}

static void get_counters(struct look *l, const json_t *o, struct fleet_counters *out)
{
    out->requests = (uint64_t)get_number(l, o, "requests", 0, INT64_MAX);
    out->errors = (uint64_t)get_number(l, o, "errors", 0, INT64_MAX);
    out->total_ms = (uint64_t)get_number(l, o, "total_ms", 0, INT64_MAX);
}

static void get_deployment(struct look *l, const json_t *o, struct fleet_deployment *d)
{
    const json_t *limits = json_object_get(o, "limits"), *steps = json_object_get(o, "steps");
    char why[300];
    d->strategy = (enum fleet_strategy)get_choice(l, o, "strategy", strategy_at, 3);
    d->phase = (enum fleet_phase)get_choice(l, o, "phase", phase_at, 6);
    get_text(l, o, "from", d->from, sizeof d->from);
    get_text(l, o, "to", d->to, sizeof d->to);
    get_text(l, o, "reason", d->reason, sizeof d->reason);
    if (fleet_variant_from_json(json_object_get(o, "variant"), &d->variant, why, sizeof why) != 0) {
        fail(l, why);
    }
    if (!json_is_array(steps) || json_array_size(steps) > FLEET_MOST_STEPS) {
        fail(l, "steps");
        return;
    }
    for (; d->step_count < json_array_size(steps); d->step_count++) {
        const json_t *s = json_array_get(steps, d->step_count);
        uint32_t before = d->step_count ? d->steps[d->step_count - 1] : 0;
        if (!json_is_integer(s) || json_integer_value(s) < before || json_integer_value(s) > 100) {
            fail(l, "steps");
            return;
        }
        d->steps[d->step_count] = (uint32_t)json_integer_value(s);
    }
    d->step = (uint32_t)get_number(l, o, "step", 0, FLEET_MOST_STEPS);
    d->weight = (uint32_t)get_number(l, o, "weight", 0, 100);
    d->started_ms = get_number(l, o, "started_ms", 0, INT64_MAX);
    d->since_ms = get_number(l, o, "since_ms", 0, INT64_MAX);
    d->hold = get_bool(l, o, "hold");
    d->limits.error_rate = get_real(l, limits, "error_rate", 1);
    d->limits.latency_ratio = get_real(l, limits, "latency_ratio", 1e9);
    d->limits.requests = (uint32_t)get_number(l, limits, "requests", 0, INT32_MAX);
    d->limits.step_ms = (uint32_t)get_number(l, limits, "step_ms", 0, INT32_MAX);
    d->limits.ready_ms = (uint32_t)get_number(l, limits, "ready_ms", 0, INT32_MAX);
    get_counters(l, json_object_get(o, "base_from"), &d->base_from);
    get_counters(l, json_object_get(o, "base_to"), &d->base_to);
}

static void get_services(struct look *l, const json_t *list, struct fleet_record *r)
{
    if (!json_is_array(list) || json_array_size(list) != r->spec.model_count) {
        fail(l, "services");
        return;
    }
    r->services = calloc(r->spec.model_count, sizeof *r->services);
    if (!r->services) {
        fail(l, "no memory");
        return;
    }
    for (; r->service_count < r->spec.model_count && l->rc == 0; r->service_count++) {
        const json_t *o = json_array_get(list, r->service_count);
        struct fleet_service *s = &r->services[r->service_count];
        l->where = r->spec.models[r->service_count].name;
        get_text(l, o, "name", s->name, sizeof s->name);
        if (strcmp(s->name, l->where) != 0) {
            fail(l, "name");
        }
        s->stable_slot = (unsigned)get_number(l, o, "stable_slot", 0, 1);
        s->scaled_ms = get_number(l, o, "scaled_ms", 0, INT64_MAX);
        s->has_replicas = json_object_get(o, "replicas") != NULL;
        if (s->has_replicas) {
            s->replicas = (uint32_t)get_number(l, o, "replicas", 0, FLEET_MOST_REPLICAS);
        }
        s->has_deployment = json_object_get(o, "deployment") != NULL;
        if (s->has_deployment) {
            get_deployment(l, json_object_get(o, "deployment"), &s->deployment);
        }
    }
    l->where = "";
}

int fleet_record_parse(const char *text, size_t bytes, struct fleet_record *out, char *error,
                       size_t error_bytes)
{
    struct look l = {.where = "", .error = error, .error_bytes = error_bytes};
    json_error_t at;
    char why[300];
    memset(out, 0, sizeof *out);
    json_t *o = bytes <= FLEET_RECORD_MOST_BYTES
                    ? json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &at)
                    : NULL;
    if (!json_is_object(o)) {
        fail(&l, "no JSON");
        goto out;
    }
    if (get_number(&l, o, "format", 1, INT32_MAX) > FORMAT) {
        snprintf(error, error_bytes, "this fleet was made by a later version of tessera; use that");
        l.rc = -EINVAL;
        goto out;
    }
    out->generation = (uint64_t)get_number(&l, o, "generation", 1, INT64_MAX);
    out->owner = json_object_get(o, "owner") ? get_number(&l, o, "owner", 0, UINT32_MAX) : -1;
    get_text(&l, o, "internal_key", out->internal_key, sizeof out->internal_key);
    if (l.rc == 0 && !machine_word_is_valid(out->internal_key)) {
        fail(&l, "internal_key");
    }
    out->down = get_bool(&l, o, "down");
    if (l.rc == 0 &&
        fleet_spec_from_json(json_object_get(o, "spec"), &out->spec, why, sizeof why) != 0) {
        l.where = "spec";
        fail(&l, why);
    }
    if (l.rc == 0) {
        get_services(&l, json_object_get(o, "services"), out);
    }
out:
    json_decref(o);
    if (l.rc) {
        fleet_record_free(out);
    }
    return l.rc;
}
