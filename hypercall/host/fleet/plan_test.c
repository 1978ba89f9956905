// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `up` and `diff` say: a second look at the same finds nothing, each change is one line.
//
// Links: hypercall/host/fleet/plan.c hypercall/host/fleet/record.c hypercall/host/fleet/version.c
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[600];
static struct fleet_record record;
static struct fleet_member members[8];
static size_t member_count;

static struct fleet_spec spec_of(const char *endpoint, const char *models)
{
    char yaml[800];
    struct fleet_spec s;
    snprintf(yaml, sizeof yaml, "fleet: f\nendpoint: {listen: '127.0.0.1:8000'%s}\nmodels:\n%s",
             endpoint, models);
    if (fleet_spec_parse(yaml, strlen(yaml), "f", "/d", &s, error, sizeof error)) {
        fail_msg("%s", error);
    }
    return s;
}

#define CHAT  "- {name: chat, model: a.gguf, memory: 512M, replicas: 2}\n"
#define EMBED "- {name: embed, model: b.gguf}\n"

// A fleet that is as wanted.
static void start(const char *endpoint, const char *models)
{
    struct fleet_spec s = spec_of(endpoint, models);
    fleet_record_free(&record);
    assert_int_equal(fleet_record_new(&s, &record, error, sizeof error), 0);
    member_count = 0;
    for (size_t i = 0; i < record.spec.model_count; i++) {
        const struct fleet_model *m = &record.spec.models[i];
        for (uint32_t j = 0; j < m->replicas; j++) {
            struct fleet_member *f = &members[member_count++];
            *f = (struct fleet_member){.running = true};
            strcpy(f->service, m->name);
            fleet_version(&m->variant, f->version);
        }
    }
}

static char said[2000];
static const char *plan(const struct fleet_record *now, const char *endpoint, const char *models)
{
    struct fleet_spec s = {0};
    struct fleet_plan p;
    struct text t = {0};
    if (models) {
        s = spec_of(endpoint, models);
    }
    assert_int_equal(
        fleet_plan(now, models ? &s : NULL, members, member_count, &p, error, sizeof error), 0);
    fleet_plan_print(&p, &t);
    json_t *o = fleet_plan_to_json(&p);
    assert_int_equal(json_array_size(json_object_get(o, "lines")), p.count);
    json_decref(o);
    snprintf(said, sizeof said, "%s", t.data);
    free(t.data);
    fleet_plan_free(&p);
    fleet_spec_free(&s);
    return said;
}

static void a_new_fleet_is_made_of_all_its_parts(void **unused)
{
    (void)unused;
    member_count = 0;
    assert_string_equal(
        plan(NULL, "", CHAT "- {name: e, model: b, canary: {model: c, weight: 5}}\n"),
        "  + chat: 2 guests of a.gguf, 512 MB\n"
        "  + e: 1 guest of b\n"
        "  + e canary (5 % of the requests): 1 guest of c\n"
        "  + endpoint: 127.0.0.1:8000\n"
        "Plan: 4 to create, 0 to change, 0 to remove, 0 the same.\n");
}

static void a_second_look_finds_nothing(void **unused)
{
    (void)unused;
    start("", CHAT EMBED);
    assert_string_equal(plan(&record, "", CHAT EMBED), "  = chat: 2 guests of a.gguf, 512 MB\n"
                                                       "  = embed: 1 guest of b.gguf\n"
                                                       "  = endpoint: 127.0.0.1:8000\n"
                                                       "Nothing to do.\n");
    // Nor after `scale`, until fleet.yaml says another number.
    record.services[1].has_replicas = true;
    record.services[1].replicas = 0;
    member_count = 2;
    assert_non_null(strstr(plan(&record, "", CHAT EMBED), "Nothing to do.\n"));
    assert_non_null(
        strstr(said, "= embed: 0 guests of b.gguf (by `tessera scale`; fleet.yaml says 1)\n"));
}

static void each_change_is_a_line(void **unused)
{
    (void)unused;
    static const struct {
        const char *endpoint, *models, *says;
    } cases[] = {
        {"", "- {name: chat, model: a.gguf, memory: 1G, replicas: 2}\n" EMBED,
         "  ~ chat: new version of its guests: memory 512 -> 1024\n"},
        {"", "- {name: chat, model: z.gguf, memory: 512M, replicas: 2}\n" EMBED,
         "  ~ chat: new version of its guests: model \"/d/a.gguf\" -> \"/d/z.gguf\"\n"},
        {"", "- {name: chat, model: a.gguf, memory: 512M, replicas: 4}\n" EMBED,
         "  + chat: 2 more guests (2 of 4 run)\n"},
        {"", "- {name: chat, model: a.gguf, memory: 512M, replicas: 1}\n" EMBED,
         "  - chat: 1 of 2 guests\n"},
        {"", "- {name: chat, model: a.gguf, memory: 512M, replicas: 2, aliases: [x]}\n" EMBED,
         "  ~ chat: aliases [] -> [\"x\"]\n"},
        {"",
         "- {name: chat, model: a.gguf, memory: 512M, replicas: 2, canary: {vcpus: 2, weight: 1}}"
         "\n" EMBED,
         "  + chat canary (1 % of the requests): 1 guest of a.gguf, 512 MB, 2 CPUs\n"},
        {"", CHAT, "  - embed: 1 guest of b.gguf\n"},
        {"", CHAT EMBED "- {name: new, model: c}\n", "  + new: 1 guest of c\n"},
        {", sticky: key", CHAT EMBED, "  ~ endpoint: sticky \"none\" -> \"key\"\n"},
        {", keys: [k]", CHAT EMBED, "  ~ endpoint: keys none -> \"1 listed, changed\"\n"},
    };
    start("", CHAT EMBED);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plan(&record, cases[i].endpoint, cases[i].models);
        if (!strstr(said, cases[i].says) || !strstr(said, "Plan: ")) {
            fail_msg("%zu: %s", i, said);
        }
        // One change, no more.
        size_t marks = 0;
        for (const char *c = said; (c = strpbrk(c, "+~-")); c++) {
            marks += c == said || (c[-1] == ' ' && c[-2] == ' ' && c[1] == ' ');
        }
        assert_int_equal(marks, 1);
    }
}

static void keys_are_not_told(void **unused)
{
    (void)unused;
    start(", keys: [secret1, secret2]", CHAT);
    plan(&record, ", keys: [secret1, secret3]", CHAT);
    assert_non_null(strstr(said, "keys \"2 listed\" -> \"2 listed, changed\""));
    assert_null(strstr(said, "secret"));
    assert_non_null(strstr(plan(&record, ", keys: [secret1, secret2]", CHAT), "Nothing to do."));
}

static void guests_that_are_missing_are_to_come(void **unused)
{
    (void)unused;
    start("", CHAT EMBED);
    members[0].running = false;
    assert_non_null(strstr(plan(&record, "", CHAT EMBED), "  + chat: 1 more guest (1 of 2 run)\n"));
}

static void a_fleet_that_goes_is_told_whole(void **unused)
{
    (void)unused;
    start("", CHAT EMBED);
    assert_string_equal(plan(&record, "", NULL),
                        "  - chat: 2 guests of a.gguf, 512 MB\n"
                        "  - embed: 1 guest of b.gguf\n"
                        "  - endpoint: 127.0.0.1:8000\n"
                        "Plan: 0 to create, 0 to change, 3 to remove, 0 the same.\n");
}

static int end(void **unused)
{
    (void)unused;
    fleet_record_free(&record);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_fleet_is_made_of_all_its_parts),
        cmocka_unit_test(a_second_look_finds_nothing),
        cmocka_unit_test(each_change_is_a_line),
        cmocka_unit_test(keys_are_not_told),
        cmocka_unit_test(guests_that_are_missing_are_to_come),
        cmocka_unit_test(a_fleet_that_goes_is_told_whole),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
