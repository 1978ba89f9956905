// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// fleet.yaml: what is read, its normal form, and that each mistake is told with its line and field.
//
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c hypercall/host/fleet/resolve.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/fields.h"
#include "hypercall/host/fleet/parts.h"
#include "hypercall/host/fleet/plan.h"
#include "hypercall/host/store/weights.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// The store's part: a file's identity is its name here.
int weights_identity(const char *path, const struct weights_progress *progress,
                     struct weights_identity *out, char *message, size_t bytes)
{
    (void)progress;
    if (strstr(path, "missing")) {
        snprintf(message, bytes, "%s: No such file or directory", path);
        return -ENOENT;
    }
    memset(out, 0, sizeof *out);
    snprintf((char *)out->sha256, sizeof out->sha256, "%s", strrchr(path, '/') + 1);
    return 0;
}

void weights_identity_text(const struct weights_identity *identity, char text[WEIGHTS_TEXT])
{
    snprintf(text, WEIGHTS_TEXT, "sha256:%s", (const char *)identity->sha256);
}

static char error[600];
static const char whole[] =
    "fleet: shop\n"
    "endpoint:\n"
    "  listen: 0.0.0.0:8000\n"
    "  tls: {certificate: cert.pem, key: /etc/key.pem}\n"
    "  keys: keys.txt\n"
    "  sticky: key\n"
    "  drain: 5m\n"
    "  timeout: 90s\n"
    "models:\n"
    "  - name: chat\n"
    "    aliases: [gpt-4o-mini, 'org/model:tag']\n"
    "    model: phi-3.gguf\n"
    "    image: llm.elf\n"
    "    replicas: 3\n"
    "    memory: 512M\n"
    "    vcpus: 2\n"
    "    cpu: host-passthrough\n"
    "    hugepages: 2M\n"
    "    pin: 0-3,8\n"
    "    accel: tcg\n"
    "    offload: host\n"
    "    offload-share: 7\n"
    "    priority: 2048\n"
    "    policy: realtime\n"
    "    canary: {model: phi-3-new.gguf, weight: 10, settings: {log: debug}}\n"
    "    health: {path: /ready, interval: 500ms, timeout: 250ms, fall: 2, rise: 4, start: 2m}\n"
    "    autoscale: {min: 1, max: 6, p95: 2s, queue: 4, cooldown: 90s, idle: 1h}\n"
    "    settings: {engine.context: 4096, shell: off}\n"
    "  - {name: embed, model: bert}\n";

static void parse(const char *yaml, struct fleet_spec *s)
{
    if (fleet_spec_parse(yaml, strlen(yaml), "fleet.yaml", "/home/u", s, error, sizeof error)) {
        fail_msg("%s", error);
    }
}

static void every_field_is_read(void **unused)
{
    (void)unused;
    struct fleet_spec s;
    parse(whole, &s);
    assert_string_equal(s.name, "shop");
    assert_string_equal(s.endpoint.host, "0.0.0.0");
    assert_int_equal(s.endpoint.port, 8000);
    assert_string_equal(s.endpoint.certificate, "/home/u/cert.pem");
    assert_string_equal(s.endpoint.key, "/etc/key.pem");
    assert_string_equal(s.endpoint.keys_file, "/home/u/keys.txt");
    assert_int_equal(s.endpoint.sticky, FLEET_STICKY_KEY);
    assert_int_equal(s.endpoint.drain_ms, 300000);
    assert_int_equal(s.endpoint.timeout_ms, 90000);
    assert_int_equal(s.model_count, 2);
    const struct fleet_model *m = &s.models[0];
    assert_string_equal(m->aliases[1], "org/model:tag");
    assert_string_equal(m->variant.model, "/home/u/phi-3.gguf");
    assert_string_equal(m->variant.image, "/home/u/llm.elf");
    assert_int_equal(m->replicas, 3);
    assert_int_equal(m->variant.memory_mb, 512);
    assert_int_equal(m->variant.vcpus, 2);
    assert_string_equal(m->variant.cpu, "host-passthrough");
    assert_int_equal(m->variant.hugepages, FLEET_HUGEPAGES_2M);
    assert_string_equal(m->variant.pin, "0-3,8");
    assert_int_equal(m->variant.accel, FLEET_ACCEL_TCG);
    assert_int_equal(m->variant.offload, FLEET_OFFLOAD_HOST);
    assert_int_equal(m->variant.offload_share, 7);
    assert_int_equal(m->variant.priority, 2048);
    assert_int_equal(m->variant.policy, FLEET_POLICY_REALTIME);
    assert_int_equal(m->health.interval_ms, 500);
    assert_int_equal(m->health.start_ms, 120000);
    assert_true(m->autoscale.enabled);
    assert_int_equal(m->autoscale.cooldown_ms, 90000);
    assert_int_equal(m->autoscale.idle_ms, 3600000);
    assert_int_equal(m->variant.setting_count, 2);
    assert_string_equal(m->variant.settings[0].value, "4096");
    // What the canary does not say is the model's, wherever it stands.
    assert_true(m->has_canary);
    assert_int_equal(m->canary_weight, 10);
    assert_string_equal(m->canary.model, "/home/u/phi-3-new.gguf");
    assert_string_equal(m->canary.image, "/home/u/llm.elf");
    assert_int_equal(m->canary.setting_count, 1);
    assert_string_equal(s.models[1].variant.model, "bert");
    assert_int_equal(s.models[1].replicas, 1);
    assert_false(s.models[1].autoscale.enabled);
    fleet_spec_free(&s);
}

static void the_normal_form_reads_back_the_same(void **unused)
{
    (void)unused;
    static const char *const more[] = {whole, "fleet: a\nmodels: [{name: m, model: m.gguf}]",
                                       "{fleet: a, endpoint: {listen: '[::1]:1', keys: [k1, k2]}, "
                                       "models: [{name: m, model: ./m, replicas: 0}]}"};
    for (size_t i = 0; i < 3; i++) {
        struct fleet_spec a, b;
        parse(more[i], &a);
        json_t *x = fleet_spec_to_json(&a);
        if (fleet_spec_from_json(x, &b, error, sizeof error)) {
            fail_msg("%s", error);
        }
        json_t *y = fleet_spec_to_json(&b);
        assert_true(json_equal(x, y));
        json_decref(x);
        json_decref(y);
        fleet_spec_free(&a);
        fleet_spec_free(&b);
    }
}

#define M "fleet: f\nmodels:\n- name: a\n  model: a.gguf\n"
static const struct {
    const char *yaml, *says;
} wrong[] = {
    {"", "fleet.yaml: is empty"},
    {"fleet: [", "fleet.yaml:2: no valid YAML"},
    {"- a", "fleet.yaml:1: must be a group of fields"},
    {"fleet: f", "fleet.yaml:1: the field 'models' is missing"},
    {"fleet: f\nmodels: []", "fleet.yaml:2: models: must be a list of 1 to 64 models"},
    {"fleet: f\nmodels:\n- model: a.gguf", "fleet.yaml:3: models[0]: the field 'name' is missing"},
    {M "  replicas: many",
     "fleet.yaml:5: models[0].replicas: 'many' is no whole number (0 to 512)"},
    {M "  replicas: 513", "fleet.yaml:5: models[0].replicas: '513' is no whole number"},
    {M "  replicas: -1", "fleet.yaml:5: models[0].replicas: '-1' is no whole number"},
    {M "  replicas: 99999999999999999999", "fleet.yaml:5: models[0].replicas: "},
    {M "  replicas:", "fleet.yaml:5: models[0].replicas: is empty"},
    {M "  replicas: [1]", "fleet.yaml:5: models[0].replicas: must be a single value"},
    {M "  replicsa: 3",
     "fleet.yaml:5: models[0].replicsa: no such field; did you mean 'replicas'?"},
    {M "  model-identity: x", "fleet.yaml:5: models[0].model-identity: no such field"},
    {M "  replicas: 1\n  replicas: 2", "fleet.yaml:6: this field is there twice: replicas"},
    {M "  memory: lots", "fleet.yaml:5: models[0].memory: 'lots' is no size like 512M or 2G"},
    {M "  vcpus: 0", "fleet.yaml:5: models[0].vcpus: '0' is no whole number (1 to 64)"},
    {M "  accel: fast", "fleet.yaml:5: models[0].accel: 'fast' is none of auto, kvm, tcg"},
    {M "  pin: 3-1", "fleet.yaml:5: models[0].pin: '3-1' is not valid; it must be a list"},
    {M "  pin: '1,'", "fleet.yaml:5: models[0].pin: "},
    {M "  priority: 1", "fleet.yaml:5: models[0].priority: '1' is no whole number (2 to 262144)"},
    {M "  health:\n    interval: 2",
     "fleet.yaml:6: models[0].health.interval: '2' is no time; write it with its unit"},
    {M "  health: {interval: 9h}",
     "fleet.yaml:5: models[0].health.interval: '9h' is out of bounds"},
    {M "  health: {path: health}", "fleet.yaml:5: models[0].health.path: 'health' is not valid"},
    {M "  autoscale: {min: 3, max: 2}",
     "fleet.yaml:5: models[0].autoscale: min (3) is more than max (2)"},
    {M "  autoscale: {min: 1, max: 2, queue: 0}", "neither p95 nor queue has a target"},
    {M "  replicas: 7\n  autoscale: {min: 1, max: 6}",
     "fleet.yaml:5: models[0].replicas: 7 is outside of autoscale's bounds (1 to 6)"},
    {M "  canary: {weight: 10}", "fleet.yaml:5: models[0].canary: nothing differs"},
    {M "  canary: {model: b.gguf}",
     "fleet.yaml:5: models[0].canary: the field 'weight' is missing"},
    {M "  canary:\n    weight: 101\n    model: b",
     "fleet.yaml:6: models[0].canary.weight: '101' is no whole number (0 to 100)"},
    {M "  settings: {engine.contxt: 1}", "did you mean 'engine.context'?"},
    {M "  settings: {http.key: x}",
     "fleet.yaml:5: models[0].settings.http.key: no setting that can be chosen here"},
    {M "  settings: {log: 'a b'}", "fleet.yaml:5: models[0].settings.log: must be printable"},
    {M "  aliases: [x, x]", "fleet.yaml:5: models[0].aliases[1]: 'x' names a model already"},
    {M "  aliases: ['a b']", "fleet.yaml:5: models[0].aliases[0]: must be letters"},
    {M "- name: a\n  model: b.gguf", "fleet.yaml:5: models[1].name: 'a' names another model"},
    {M "- name: b\n  model: b\n  aliases: [a]", "fleet.yaml:7: models[1].aliases[0]: 'a' names"},
    {M "  name2: x", "did you mean 'name'?"},
    {M "endpoint: {listen: 8000}", "fleet.yaml:5: endpoint.listen: must be an address and a port"},
    {M "endpoint: {listen: '::1:80'}", "endpoint.listen: must be"},
    {M "endpoint: {listen: '127.0.0.1:65536'}", "endpoint.listen: must be"},
    {M "endpoint:\n  listen: 0.0.0.0:80",
     "fleet.yaml:6: endpoint.listen: 0.0.0.0 can be reached from other machines and no keys"},
    {M "endpoint: {tls: {certificate: c}}",
     "fleet.yaml:5: endpoint.tls: the field 'key' is missing"},
    {M "endpoint: {keys: []}", "fleet.yaml:5: endpoint.keys: must have 1 to 256 keys"},
    {M "endpoint: {keys: [good, 'a b']}", "fleet.yaml:5: endpoint.keys[1]: a key must be"},
    {M "endpoint: {insecure: maybe}", "'maybe' is neither true nor false"},
    {M "endpoint: {sticky: yes}", "'yes' is none of none, key"},
    {M "---\nfleet: g", "fleet.yaml:6: a second document begins here"},
    {"fleet: 'a b'\nmodels: [{name: a, model: b}]", "fleet.yaml:1: fleet: 'a b' is not valid"},
    {"fleet: 012345678901234567890\nmodels: [{name: a, model: b}]", "fleet: is too long"},
    {"fleet: \"a\\0b\"\nmodels: [{name: a, model: b}]", "has characters that are none"},
    {"fleet: \"\\e[2J\"\nmodels: [{name: a, model: b}]", "has characters that are none"},
    {"fleet: f\nmodels: &m [{name: a, model: b, aliases: *m}]", "too deep"},
    {"fleet: f\n? [a]\n: b", "a field's name must be a plain word"},
    {"fleet: f\nmodels:\n- &d {name: a, model: b}\n- {<<: *d, name: c}", "merge keys"},
};

static void each_mistake_is_told_with_line_and_field(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct fleet_spec s;
        int rc = fleet_spec_parse(wrong[i].yaml, strlen(wrong[i].yaml), "fleet.yaml", "/home/u", &s,
                                  error, sizeof error);
        if (rc != -EINVAL || !strstr(error, wrong[i].says)) {
            fail_msg("%zu: %d '%s', wanted '%s'", i, rc, error, wrong[i].says);
        }
        assert_null(s.models);
    }
}

static void what_grows_without_bound_is_refused(void **unused)
{
    (void)unused;
    // Ten lists of ten aliases each, ten deep.
    char bomb[2000];
    int n = snprintf(bomb, sizeof bomb, "l0: &l0 [x]\n");
    for (int i = 1; i < 9; i++) {
        n += snprintf(bomb + n, sizeof bomb - (size_t)n, "l%d: &l%d [", i, i);
        for (int j = 0; j < 10; j++) {
            n += snprintf(bomb + n, sizeof bomb - (size_t)n, "%s*l%d", j ? "," : "", i - 1);
        }
        n += snprintf(bomb + n, sizeof bomb - (size_t)n, "]\n");
    }
    struct fleet_spec s;
    assert_int_equal(fleet_spec_parse(bomb, strlen(bomb), "f", "/", &s, error, sizeof error),
                     -EINVAL);
    assert_non_null(strstr(error, "too many entries"));
    char *large = calloc(1, FLEET_MOST_BYTES + 1);
    assert_int_equal(
        fleet_spec_parse(large, FLEET_MOST_BYTES + 1, "f", "/", &s, error, sizeof error), -E2BIG);
    free(large);
    // 64 models of 512 guests.
    assert_int_equal(
        fleet_spec_parse(M "  replicas: 500\n- {name: b, model: b, replicas: 13}",
                         strlen(M "  replicas: 500\n- {name: b, model: b, replicas: 13}"), "f", "/",
                         &s, error, sizeof error),
        -EINVAL);
    assert_non_null(strstr(error, "513 guests"));
}

static void a_version_says_what_a_guest_is(void **unused)
{
    (void)unused;
    struct fleet_spec s;
    char one[FLEET_VERSION], two[FLEET_VERSION];
    parse(M, &s);
    struct fleet_variant *v = &s.models[0].variant, other = *v;
    fleet_version(v, one);
    assert_int_equal(strspn(one, "0123456789abcdef"), 12);
    snprintf(other.model, sizeof other.model, "/elsewhere/a.gguf");
    fleet_version(&other, two);
    assert_string_not_equal(one, two);
    // Of known content, the path is no part.
    assert_int_equal(fleet_resolve(&s, NULL, NULL, NULL, error, sizeof error), 0);
    assert_int_equal(fleet_resolve_variant(&other, NULL, NULL, NULL, error, sizeof error), 0);
    fleet_version(v, one);
    fleet_version(&other, two);
    assert_string_equal(one, two);
    assert_false(fleet_variant_differs(v, &other));
    other.memory_mb = 100;
    fleet_version(&other, two);
    assert_string_not_equal(one, two);
    assert_true(fleet_variant_differs(v, &other));
    other = *v;
    snprintf(other.model, sizeof other.model, "/a/missing.gguf");
    assert_int_equal(fleet_resolve_variant(&other, NULL, NULL, NULL, error, sizeof error), -ENOENT);
    snprintf(v->model, sizeof v->model, "phi");
    assert_int_equal(fleet_resolve(&s, NULL, NULL, NULL, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "models[0] (a): phi: is neither a file (write ./phi)"));
    assert_int_equal(fleet_resolve_variant(&s.models[0].canary, "/nonexistent/image", NULL, NULL,
                                           error, sizeof error),
                     -ENOENT);
    fleet_spec_free(&s);
}

// ---- the schema --------------------------------------------------------------------------------

static const struct {
    const char *part;
    const struct field *table;
} parts[] = {{"endpoint", endpoint_fields}, {"tls", tls_fields},
             {"models", model_fields},      {"health", health_fields},
             {"canary", canary_fields},     {"autoscale", autoscale_fields}};

static size_t same_names(const json_t *properties, const struct field *table)
{
    size_t count = 0;
    for (const struct field *f = table; f->name; f++) {
        if (f->kind == FIELD_TABLE) {
            count += same_names(properties, f->table);
        } else if (!f->is_internal) {
            const json_t *p = json_object_get(properties, f->name);
            if (!p) {
                fail_msg("the schema has no '%s'", f->name);
            }
            count++;
            if (f->kind == FIELD_COUNT) {
                assert_int_equal(json_integer_value(json_object_get(p, "minimum")), f->least);
                assert_int_equal(json_integer_value(json_object_get(p, "maximum")), f->most);
            }
            const json_t *choices = json_object_get(p, "enum");
            assert_int_equal(f->kind == FIELD_CHOICE, choices != NULL);
            for (size_t i = 0; choices && i <= json_array_size(choices); i++) {
                const char *choice = json_string_value(json_array_get(choices, i));
                assert_true(choice ? f->choices[i] && strcmp(choice, f->choices[i]) == 0
                                   : f->choices[i] == NULL);
            }
            for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
                const json_t *inner = json_object_get(p, "items") ? json_object_get(p, "items") : p;
                if (strcmp(parts[i].part, f->name) == 0) {
                    inner = json_object_get(inner, "properties");
                    assert_int_equal(same_names(inner, parts[i].table), json_object_size(inner));
                }
            }
        }
    }
    return count;
}

static void the_schema_says_what_the_tables_say(void **unused)
{
    (void)unused;
    json_error_t where;
    json_t *schema = json_loads(fleet_schema(), 0, &where);
    assert_non_null(schema);
    const json_t *properties = json_object_get(schema, "properties");
    assert_int_equal(same_names(properties, fleet_fields), json_object_size(properties));
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(the_normal_form_reads_back_the_same),
        cmocka_unit_test(each_mistake_is_told_with_line_and_field),
        cmocka_unit_test(what_grows_without_bound_is_refused),
        cmocka_unit_test(a_version_says_what_a_guest_is),
        cmocka_unit_test(the_schema_says_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
