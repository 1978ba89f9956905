// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A plan: what is wanted beside what is there, in words.
#include "hypercall/host/fleet/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fleet_plan_free(struct fleet_plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->lines[i].text);
    }
    free(p->lines);
    memset(p, 0, sizeof *p);
}

struct planner {
    struct fleet_plan *plan;
    size_t room;
    bool failed; // no memory
};

// Takes the text over.
static void add(struct planner *p, enum fleet_change change, const char *service, struct text *t)
{
    struct fleet_plan *plan = p->plan;
    if (plan->count == p->room) {
        size_t room = p->room ? 2 * p->room : 16;
        struct fleet_plan_line *more = realloc(plan->lines, room * sizeof *more);
        if (!more) {
            p->failed = true;
            free(t->data);
            return;
        }
        plan->lines = more;
        p->room = room;
    }
    struct fleet_plan_line *line = &plan->lines[plan->count++];
    *line = (struct fleet_plan_line){.change = change, .text = t->data};
    snprintf(line->service, sizeof line->service, "%s", service);
    plan->changes += change != FLEET_SAME;
    p->failed = p->failed || t->failed || !t->data;
}

static const char *basename_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void describe_guests(struct text *t, uint32_t count, const struct fleet_variant *v)
{
    text_add(t, "%u guest%s of %s", count, count == 1 ? "" : "s", basename_of(v->model));
    if (v->memory_mb) {
        text_add(t, ", %u MB", v->memory_mb);
    }
    if (v->vcpus) {
        text_add(t, ", %u CPU%s", v->vcpus, v->vcpus == 1 ? "" : "s");
    }
}

// "memory 512 -> 1024" of each field that differs, by the normal forms. Returns how many.
static size_t describe_difference(struct text *t, json_t *before, json_t *after)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(after, key, value)
    {
        json_t *old = json_object_get(before, key);
        if (json_equal(old, value)) {
            continue;
        }
        char *a = old ? json_dumps(old, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
        char *b = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
        text_add(t, "%s%s %.200s -> %.200s", n++ ? ", " : "", key, a ? a : "none", b ? b : "?");
        free(a);
        free(b);
    }
    json_object_foreach(before, key, value)
    {
        if (!json_object_get(after, key)) {
            text_add(t, "%s%s -> none", n++ ? ", " : "", key);
        }
    }
    return n;
}

// Files by their names and content.
static json_t *shown_variant(const struct fleet_variant *v)
{
    static const char *const pairs[][2] = {{"model", "model-identity"},
                                           {"image", "image-identity"}};
    json_t *o = fleet_variant_to_json(v);
    for (size_t i = 0; i < 2; i++) {
        const char *path = json_string_value(json_object_get(o, pairs[i][0]));
        const char *id = json_string_value(json_object_get(o, pairs[i][1]));
        if (path && id && id[0]) {
            char text[FLEET_PATH];
            // Twelve digits are enough to tell two files of one name apart.
            snprintf(text, sizeof text, "%s (%.19s)", basename_of(path), id);
            json_object_set_new(o, pairs[i][0], json_string(text));
        }
        json_object_del(o, pairs[i][1]);
    }
    return o;
}

static size_t count_members(const struct fleet_member *members, size_t count, const char *service,
                            const char *version, bool running)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += strcmp(members[i].service, service) == 0 &&
             (!version || strcmp(members[i].version, version) == 0) &&
             (!running || members[i].running);
    }
    return n;
}

static void plan_new(struct planner *p, const struct fleet_model *m)
{
    struct text t = {0};
    text_add(&t, "%s: ", m->name);
    describe_guests(&t, m->replicas, &m->variant);
    add(p, FLEET_ADD, m->name, &t);
    if (m->has_canary) {
        t = (struct text){0};
        text_add(&t, "%s canary (%u %% of the requests): ", m->name, m->canary_weight);
        describe_guests(&t, m->canary_replicas, &m->canary);
        add(p, FLEET_ADD, m->name, &t);
    }
}

// Everything of a model but its guests and their number.
static json_t *settings_of(const struct fleet_model *m)
{
    struct fleet_spec one = {.model_count = 1, .models = (struct fleet_model *)(uintptr_t)m};
    json_t *all = fleet_spec_to_json(&one);
    json_t *o = json_deep_copy(json_array_get(json_object_get(all, "models"), 0));
    json_t *v = fleet_variant_to_json(&m->variant);
    const char *key;
    json_t *ignored;
    json_object_foreach(v, key, ignored)
    {
        json_object_del(o, key);
    }
    json_object_del(o, "replicas");
    json_object_del(o, "canary");
    json_decref(v);
    json_decref(all);
    return o;
}

static void plan_numbers(struct planner *p, const struct fleet_record *now,
                         const struct fleet_model *m, const struct fleet_member *members,
                         size_t member_count)
{
    const struct fleet_model *before = fleet_find(&now->spec, m->name);
    char version[FLEET_VERSION];
    // `scale` holds until fleet.yaml says another number.
    uint32_t wanted = before->replicas == m->replicas ? fleet_replicas(now, m->name) : m->replicas;
    fleet_version(&m->variant, version);
    bool differs = fleet_variant_differs(&before->variant, &m->variant);
    size_t there = count_members(members, member_count, m->name, differs ? NULL : version, true);
    struct text t = {0};
    if (there < wanted) {
        text_add(&t, "%s: %zu more guest%s (%zu of %u run)", m->name, wanted - there,
                 wanted - there == 1 ? "" : "s", there, wanted);
        add(p, FLEET_ADD, m->name, &t);
    } else if (before->replicas != m->replicas && there > wanted) {
        text_add(&t, "%s: %zu of %zu guests", m->name, there - wanted, there);
        add(p, FLEET_REMOVE, m->name, &t);
    }
}

static void plan_variant(struct planner *p, const struct fleet_model *before,
                         const struct fleet_model *m)
{
    json_t *a = shown_variant(&before->variant), *b = shown_variant(&m->variant);
    struct text t = {0};
    text_add(&t, "%s: new version of its guests: ", m->name);
    describe_difference(&t, a, b);
    add(p, FLEET_ALTER, m->name, &t);
    json_decref(a);
    json_decref(b);
}

static void plan_canary(struct planner *p, const struct fleet_model *before,
                        const struct fleet_model *m)
{
    struct text t = {0};
    if (m->has_canary && !before->has_canary) {
        text_add(&t, "%s canary (%u %% of the requests): ", m->name, m->canary_weight);
        describe_guests(&t, m->canary_replicas, &m->canary);
        add(p, FLEET_ADD, m->name, &t);
    } else if (!m->has_canary && before->has_canary) {
        text_add(&t, "%s canary: ", m->name);
        describe_guests(&t, before->canary_replicas, &before->canary);
        add(p, FLEET_REMOVE, m->name, &t);
    } else if (m->has_canary && (m->canary_weight != before->canary_weight ||
                                 m->canary_replicas != before->canary_replicas ||
                                 fleet_variant_differs(&m->canary, &before->canary))) {
        json_t *a = shown_variant(&before->canary), *b = shown_variant(&m->canary);
        json_object_set_new(a, "weight", json_integer(before->canary_weight));
        json_object_set_new(b, "weight", json_integer(m->canary_weight));
        json_object_set_new(a, "replicas", json_integer(before->canary_replicas));
        json_object_set_new(b, "replicas", json_integer(m->canary_replicas));
        text_add(&t, "%s canary: ", m->name);
        describe_difference(&t, a, b);
        add(p, FLEET_ALTER, m->name, &t);
        json_decref(a);
        json_decref(b);
    }
}

static void plan_model(struct planner *p, const struct fleet_record *now,
                       const struct fleet_model *m, const struct fleet_member *members,
                       size_t member_count)
{
    const struct fleet_model *before = fleet_find(&now->spec, m->name);
    size_t changes = p->plan->changes;
    if (!before) {
        plan_new(p, m);
        return;
    }
    if (fleet_variant_differs(&before->variant, &m->variant)) {
        plan_variant(p, before, m);
    }
    plan_numbers(p, now, m, members, member_count);
    plan_canary(p, before, m);
    json_t *a = settings_of(before), *b = settings_of(m);
    struct text t = {0};
    text_add(&t, "%s: ", m->name);
    if (describe_difference(&t, a, b)) {
        add(p, FLEET_ALTER, m->name, &t);
    } else {
        free(t.data);
    }
    json_decref(a);
    json_decref(b);
    if (p->plan->changes == changes) {
        t = (struct text){0};
        text_add(&t, "%s: ", m->name);
        uint32_t count = fleet_replicas(now, m->name);
        describe_guests(&t, count, &m->variant);
        if (count != m->replicas) {
            text_add(&t, " (by %s; fleet.yaml says %u)",
                     m->autoscale.enabled ? "load" : "`tessera scale`", m->replicas);
        }
        add(p, FLEET_SAME, m->name, &t);
    }
}

// Keys are secrets: only how many there are is told, and whether they changed.
static json_t *endpoint_form(const struct fleet_spec *s, bool keys_changed)
{
    json_t *all = fleet_spec_to_json(s), *o = json_object_get(all, "endpoint");
    if (json_is_array(json_object_get(o, "keys"))) {
        char text[60];
        snprintf(text, sizeof text, "%zu listed%s", s->endpoint.key_count,
                 keys_changed ? ", changed" : "");
        json_object_set_new(o, "keys", json_string(text));
    }
    json_incref(o);
    json_decref(all);
    return o;
}

static bool keys_differ(const struct fleet_endpoint *a, const struct fleet_endpoint *b)
{
    bool differ = a->key_count != b->key_count;
    for (size_t i = 0; !differ && i < a->key_count; i++) {
        differ = strcmp(a->keys[i], b->keys[i]) != 0;
    }
    return differ;
}

static void plan_endpoint(struct planner *p, const struct fleet_spec *before,
                          const struct fleet_spec *wanted)
{
    bool changed = before && wanted && keys_differ(&before->endpoint, &wanted->endpoint);
    json_t *a = before ? endpoint_form(before, false) : json_object();
    json_t *b = wanted ? endpoint_form(wanted, changed) : json_object();
    const char *listen = json_string_value(json_object_get(wanted ? b : a, "listen"));
    struct text t = {0};
    if (!before || !wanted || json_equal(a, b)) {
        text_add(&t, "endpoint: %s", listen ? listen : "");
        add(p, !before ? FLEET_ADD : !wanted ? FLEET_REMOVE : FLEET_SAME, "", &t);
    } else {
        text_add(&t, "endpoint: ");
        describe_difference(&t, a, b);
        add(p, FLEET_ALTER, "", &t);
    }
    json_decref(a);
    json_decref(b);
}

int fleet_plan(const struct fleet_record *now, const struct fleet_spec *wanted,
               const struct fleet_member *members, size_t member_count, struct fleet_plan *out,
               char *error, size_t error_bytes)
{
    struct planner p = {.plan = out};
    memset(out, 0, sizeof *out);
    const struct fleet_spec *before = now ? &now->spec : NULL;
    for (size_t i = 0; wanted && i < wanted->model_count; i++) {
        if (now) {
            plan_model(&p, now, &wanted->models[i], members, member_count);
        } else {
            plan_new(&p, &wanted->models[i]);
        }
    }
    for (size_t i = 0; before && i < before->model_count; i++) {
        const struct fleet_model *m = &before->models[i];
        if (!wanted || !fleet_find(wanted, m->name)) {
            struct text t = {0};
            size_t there = count_members(members, member_count, m->name, NULL, false);
            text_add(&t, "%s: ", m->name);
            describe_guests(&t, (uint32_t)there, &m->variant);
            add(&p, FLEET_REMOVE, m->name, &t);
        }
    }
    if (before || wanted) {
        plan_endpoint(&p, before, wanted);
    }
    if (p.failed) {
        fleet_plan_free(out);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    return 0;
}

void fleet_plan_print(const struct fleet_plan *p, struct text *out)
{
    size_t counts[4] = {0};
    for (size_t i = 0; i < p->count; i++) {
        static const char marks[] = "=+-~";
        text_add(out, "  %c %s\n", marks[p->lines[i].change], p->lines[i].text);
        counts[p->lines[i].change]++;
    }
    if (p->changes == 0) {
        text_add(out, "Nothing to do.\n");
    } else {
        text_add(out, "Plan: %zu to create, %zu to change, %zu to remove, %zu the same.\n",
                 counts[FLEET_ADD], counts[FLEET_ALTER], counts[FLEET_REMOVE], counts[FLEET_SAME]);
    }
}

json_t *fleet_plan_to_json(const struct fleet_plan *p)
{
    static const char *const names[] = {"same", "create", "remove", "change"};
    json_t *lines = json_array();
    for (size_t i = 0; lines && i < p->count; i++) {
        json_array_append_new(lines,
                              json_pack("{s:s,s:s,s:s}", "change", names[p->lines[i].change],
                                        "service", p->lines[i].service, "text", p->lines[i].text));
    }
    return json_pack("{s:i,s:o}", "changes", (int)p->changes, "lines", lines);
}
