// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's record: it reads back as it was written, damage is refused, a new specification keeps
// what stays, and slots follow the deployment.
//
// Links: hypercall/host/fleet/record.c hypercall/host/fleet/record_json.c
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[600];

static struct fleet_spec spec_of(const char *yaml)
{
    struct fleet_spec s;
    if (fleet_spec_parse(yaml, strlen(yaml), "f", "/d", &s, error, sizeof error)) {
        fail_msg("%s", error);
    }
    return s;
}

static const char two[] = "fleet: f\nmodels:\n- {name: a, model: a.gguf, replicas: 2}\n"
                          "- {name: b, model: b.gguf, autoscale: {min: 0, max: 3}}\n";

static struct fleet_record record(void)
{
    struct fleet_spec s = spec_of(two);
    struct fleet_record r;
    assert_int_equal(fleet_record_new(&s, &r, error, sizeof error), 0);
    assert_null(s.models);
    return r;
}

static struct fleet_deployment *deploy(struct fleet_record *r, enum fleet_phase phase)
{
    struct fleet_service *s = fleet_service(r, "a");
    s->has_deployment = true;
    s->deployment = (struct fleet_deployment){.strategy = FLEET_CANARY,
                                              .phase = phase,
                                              .from = "0123456789ab",
                                              .to = "ba9876543210",
                                              .variant = r->spec.models[1].variant,
                                              .step_count = 2,
                                              .steps = {10, 50},
                                              .step = 1,
                                              .weight = 10,
                                              .started_ms = 1700000000000,
                                              .since_ms = 1700000000001,
                                              .limits = fleet_default_limits,
                                              .hold = true,
                                              .reason = "3 of 20 <failed> & 'so'",
                                              .base_to = {.requests = 7, .errors = 1}};
    return &s->deployment;
}

static void a_record_reads_back_as_it_was_written(void **unused)
{
    (void)unused;
    struct fleet_record r = record(), again;
    assert_int_equal(strlen(r.internal_key), 40);
    deploy(&r, FLEET_SHIFTING);
    r.services[1].has_replicas = true;
    r.services[1].replicas = 0;
    r.services[0].stable_slot = 1;
    char *text = fleet_record_print(&r);
    assert_non_null(text);
    if (fleet_record_parse(text, strlen(text), &again, error, sizeof error)) {
        fail_msg("%s", error);
    }
    char *second = fleet_record_print(&again);
    assert_string_equal(text, second);
    assert_string_equal(again.services[0].deployment.reason, "3 of 20 <failed> & 'so'");
    assert_int_equal(again.services[0].deployment.base_to.requests, 7);
    assert_int_equal(fleet_replicas(&again, "a"), 2);
    assert_int_equal(fleet_replicas(&again, "b"), 0);
    assert_int_equal(fleet_replicas(&again, "c"), 0);
    free(text);
    free(second);
    fleet_record_free(&again);
    fleet_record_free(&r);
}

static void a_fleet_is_its_makers(void **unused)
{
    (void)unused;
    struct fleet_record r = record(), again;
    assert_true(fleet_is_own(&r));
    r.owner++;
    char *text = fleet_record_print(&r);
    assert_int_equal(fleet_record_parse(text, strlen(text), &again, error, sizeof error), 0);
    assert_false(fleet_is_own(&again));
    free(text);
    fleet_record_free(&again);
    r.owner = -1; // of before: anybody's
    text = fleet_record_print(&r);
    assert_int_equal(fleet_record_parse(text, strlen(text), &again, error, sizeof error), 0);
    assert_int_equal(again.owner, -1);
    assert_true(fleet_is_own(&again));
    free(text);
    fleet_record_free(&again);
    fleet_record_free(&r);
}

static void two_fleets_have_two_keys(void **unused)
{
    (void)unused;
    struct fleet_record a = record(), b = record();
    assert_string_not_equal(a.internal_key, b.internal_key);
    fleet_record_free(&a);
    fleet_record_free(&b);
}

static void damage_is_refused(void **unused)
{
    (void)unused;
    struct fleet_record r = record(), out;
    deploy(&r, FLEET_SHIFTING);
    char *text = fleet_record_print(&r);
    fleet_record_free(&r);
    static const char *const changes[][2] = {
        {"\"format\":1", "\"format\":2"},
        {"\"generation\":1", "\"generation\":0"},
        {"\"generation\":1", "\"generation\":1,\"generation\":1"},
        {"\"down\":false", "\"down\":0"},
        {"\"owner\":", "\"owner\":-1"},
        {"\"internal_key\":\"", "\"internal_key\":\" "},
        {"\"stable_slot\":0", "\"stable_slot\":2"},
        {"\"strategy\":\"canary\"", "\"strategy\":\"other\""},
        {"\"phase\":\"shifting\"", "\"phase\":7"},
        {"\"steps\":[10,50]", "\"steps\":[50,10]"},
        {"\"weight\":10", "\"weight\":101"},
        {"\"error_rate\":0.05", "\"error_rate\":1.5"},
        {"\"from\":\"0123456789ab\"", "\"from\":\"0123456789abc\""},
        {"\"name\":\"a\",\"sc", "\"name\":\"c\",\"sc"},
        {"\"fleet\":\"f\"", "\"fleet\":\"f g\""},
        {"\"replicas\":2", "\"replicas\":\"x\""},
        {"\"model\":\"/d/a.gguf\"", "\"model\":7"},
        {"/d/a.gguf", "\\u001b[2J"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *at = strstr(text, changes[i][0]);
        char *bad = malloc(strlen(text) + 50);
        if (!at) {
            fail_msg("no %s in %s", changes[i][0], text);
        }
        sprintf(bad, "%.*s%s%s", (int)(at - text), text, changes[i][1], at + strlen(changes[i][0]));
        if (fleet_record_parse(bad, strlen(bad), &out, error, sizeof error) != -EINVAL) {
            // A model of another name is still a model.
            if (strcmp(changes[i][0], "\"model\":\"/d/a.gguf\"") != 0) {
                fail_msg("taken: %s", changes[i][1]);
            }
            fleet_record_free(&out);
        }
        free(bad);
    }
    for (size_t n = 0; n < strlen(text); n += 7) { // cut
        char *cut = malloc(n + 1);
        memcpy(cut, text, n);
        assert_int_equal(fleet_record_parse(cut, n, &out, error, sizeof error), -EINVAL);
        free(cut);
    }
    free(text);
}

static void a_new_specification_keeps_what_stays(void **unused)
{
    (void)unused;
    struct fleet_record r = record();
    deploy(&r, FLEET_DONE);
    r.services[0].stable_slot = 1;
    r.services[0].has_replicas = true;
    r.services[0].replicas = 9;
    struct fleet_spec s = spec_of("fleet: f\nmodels:\n- {name: c, model: c.gguf}\n"
                                  "- {name: a, model: a.gguf, replicas: 2, memory: 1G}\n");
    assert_int_equal(fleet_record_respecify(&r, &s, error, sizeof error), 0);
    assert_int_equal(r.service_count, 2);
    assert_string_equal(r.services[0].name, "c");
    assert_int_equal(r.services[1].stable_slot, 1);
    assert_int_equal(fleet_replicas(&r, "a"), 9); // `scale` holds
    assert_null(fleet_service(&r, "b"));
    s = spec_of("fleet: f\nmodels:\n- {name: a, model: a.gguf, replicas: 3}\n");
    assert_int_equal(fleet_record_respecify(&r, &s, error, sizeof error), 0);
    assert_int_equal(fleet_replicas(&r, "a"), 3); // until fleet.yaml says another number
    fleet_record_free(&r);
}

static void slots_follow_the_deployment(void **unused)
{
    (void)unused;
    static const struct {
        enum fleet_phase phase;
        enum fleet_strategy strategy;
        bool there;
        uint32_t share;
    } cases[] = {{FLEET_STARTING, FLEET_CANARY, true, 0},
                 {FLEET_SHIFTING, FLEET_CANARY, true, 1000},
                 {FLEET_SHIFTING, FLEET_ROLLING, true, 0},
                 {FLEET_PROMOTING, FLEET_BLUE_GREEN, true, 10000},
                 {FLEET_ROLLING_BACK, FLEET_CANARY, true, 0},
                 {FLEET_ROLLED_BACK, FLEET_CANARY, false, 0},
                 {FLEET_DONE, FLEET_CANARY, false, 0}};
    struct fleet_record r = record();
    struct fleet_slot slots[2];
    r.services[0].stable_slot = 1;
    fleet_slots(&r, "a", slots);
    assert_null(slots[0].variant);
    assert_true(slots[1].stable);
    assert_int_equal(slots[1].share, 10000);
    assert_int_equal(strlen(slots[1].version), 12);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        deploy(&r, cases[i].phase)->strategy = cases[i].strategy;
        fleet_slots(&r, "a", slots);
        assert_int_equal(slots[0].variant != NULL, cases[i].there);
        assert_int_equal(slots[0].share, cases[i].share);
        assert_int_equal(slots[1].share, 10000 - cases[i].share);
        assert_false(slots[0].stable);
    }
    r.services[0].has_deployment = false;
    r.spec.models[0].has_canary = true;
    r.spec.models[0].canary_weight = 25;
    r.spec.models[0].canary = r.spec.models[1].variant;
    fleet_slots(&r, "a", slots);
    assert_int_equal(slots[0].share, 2500);
    fleet_record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_reads_back_as_it_was_written),
        cmocka_unit_test(a_fleet_is_its_makers),
        cmocka_unit_test(two_fleets_have_two_keys),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(a_new_specification_keeps_what_stays),
        cmocka_unit_test(slots_follow_the_deployment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
