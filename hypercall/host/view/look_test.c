// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rates between two looks, and the agent's notes; without libvirt.
//
// Links: hypercall/host/view/rates.c hypercall/host/view/metrics.c
// Libs: -ljansson -lvirt -lm
#include "hypercall/host/view/look.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct view_guest early[2], late[2];
static struct view before = {.at_ns = 1000000000, .count = 2, .guests = early};
static struct view now = {.at_ns = 3000000000u, .count = 2, .guests = late};

static int begin(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        early[i] = (struct view_guest){.cpu_ns = 5000000000u, .metrics = {.known = true}};
        snprintf(early[i].name, sizeof early[i].name, "g%d", i);
        snprintf(early[i].uuid, sizeof early[i].uuid, "uuid-%d", i);
        snprintf(early[i].state, sizeof early[i].state, i ? "off" : "running");
        late[i] = early[i];
        late[i].cpu_ns += 1000000000u;
        late[i].metrics.made_tokens = 40;
        late[i].metrics.ended = 4;
    }
    return 0;
}

static void rates_are_by_the_time_between_two_looks(void **state)
{
    struct view_rates r;
    (void)state;
    view_rate(&before, &now, &late[0], &r);
    assert_true(fabs(r.cpu_percent - 50) < 1e-9);
    assert_true(fabs(r.tokens - 20) < 1e-9);
    assert_true(fabs(r.requests - 2) < 1e-9);
    assert_true(r.p95_ms < 0);
}

static void another_guest_of_the_name_is_not_the_same(void **state)
{
    struct view_rates r;
    (void)state;
    strcpy(late[0].uuid, "uuid-9");
    assert_null(view_earlier(&before, &late[0]));
    view_rate(&before, &now, &late[0], &r);
    assert_true(r.cpu_percent == 0 && r.tokens == 0);
    view_rate(NULL, &now, &late[1], &r);
    assert_true(r.cpu_percent == 0 && r.tokens == 0);
}

static void a_guest_that_began_anew_has_no_rates(void **state)
{
    struct view_rates r;
    (void)state;
    late[0].cpu_ns = 1;
    view_rate(&before, &now, &late[0], &r);
    assert_true(r.cpu_percent == 0 && r.tokens == 0);
    late[1].metrics.made_tokens = 1;
    early[1].metrics.made_tokens = 5;
    view_rate(&before, &now, &late[1], &r);
    assert_true(r.cpu_percent > 0 && r.tokens == 0);
}

static void notes_of_the_agent_are_shown(void **state)
{
    (void)state;
    json_t *notes = json_pack("{s:s,s:s,s:i}", "g1", "flapping: ended 6 times", "g0",
                              "ended once\033[31m", "other", 4);
    view_take_notes(&now, notes);
    assert_string_equal(late[1].state, "flapping");
    assert_string_equal(late[1].why, "ended 6 times");
    assert_string_equal(late[0].state, "running");
    assert_string_equal(late[0].why, "ended once?[31m");
    json_decref(notes);
    view_take_notes(&now, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rates_are_by_the_time_between_two_looks, begin),
        cmocka_unit_test_setup(another_guest_of_the_name_is_not_the_same, begin),
        cmocka_unit_test_setup(a_guest_that_began_anew_has_no_rates, begin),
        cmocka_unit_test_setup(notes_of_the_agent_are_shown, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
