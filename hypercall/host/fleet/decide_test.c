// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Links: hypercall/host/fleet/decide.c
#include "hypercall/host/fleet/decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OLD "aaaaaaaaaaaa"
#define NEW "bbbbbbbbbbbb"
#define ODD "cccccccccccc"

static struct decide_wanted want(uint32_t replicas)
{
    struct decide_wanted w = {.replicas = replicas,
                              .targets = {.stable = replicas, .surge = 1},
                              .version = {OLD, ""},
                              .start_ms = 60000};
    return w;
}

// "r": runs and serves; "b": boots; "o": off; "w": off and must wait; "l": leaving.
static struct decide_member member(const char *name, const char *version, char how)
{
    struct decide_member m = {.running = how != 'o' && how != 'w',
                              .healthy = how == 'r' || how == 'l',
                              .leaving = how == 'l',
                              .may_start = how != 'w'};
    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.version, sizeof m.version, "%s", version);
    return m;
}

static void nothing_there_all_are_made(void **state)
{
    (void)state;
    struct decide_wanted w = want(3);
    uint32_t create[2];
    decide(&w, NULL, 0, NULL, create);
    assert_int_equal(create[0], 3);
    assert_int_equal(create[1], 0);
}

static void all_there_nothing_changes(void **state)
{
    (void)state;
    struct decide_wanted w = want(2);
    struct decide_member m[] = {member("a", OLD, 'r'), member("b", OLD, 'b')};
    struct decide_answer a[2];
    uint32_t create[2];
    decide(&w, m, 2, a, create);
    assert_int_equal(a[0].verdict, DECIDE_KEEP);
    assert_int_equal(a[1].verdict, DECIDE_KEEP);
    assert_int_equal(create[0] + create[1], 0);
}

static void a_guest_that_ended_is_started_and_not_replaced_by_another(void **state)
{
    (void)state;
    struct decide_wanted w = want(3);
    struct decide_member m[] = {member("a", OLD, 'o'), member("b", OLD, 'w'),
                                member("c", OLD, 'r')};
    struct decide_answer a[3];
    uint32_t create[2];
    decide(&w, m, 3, a, create);
    assert_int_equal(a[0].verdict, DECIDE_START);
    assert_int_equal(a[1].verdict, DECIDE_WAIT);
    assert_int_equal(a[2].verdict, DECIDE_KEEP);
    assert_int_equal(create[0], 0);
}

static void too_many_the_worst_go(void **state)
{
    (void)state;
    struct decide_wanted w = want(2);
    struct decide_member m[] = {member("a", OLD, 'o'), member("b", OLD, 'r'), member("c", OLD, 'b'),
                                member("d", OLD, 'r')};
    struct decide_answer a[4];
    uint32_t create[2];
    decide(&w, m, 4, a, create);
    assert_int_equal(a[0].verdict, DECIDE_RETIRE);
    assert_int_equal(a[1].verdict, DECIDE_KEEP);
    assert_int_equal(a[2].verdict, DECIDE_RETIRE);
    assert_int_equal(a[3].verdict, DECIDE_KEEP);
}

static void who_is_leaving_already_goes_on_leaving(void **state)
{
    (void)state;
    struct decide_wanted w = want(1);
    struct decide_member m[] = {member("a", OLD, 'l'), member("b", OLD, 'r')};
    struct decide_answer a[2];
    uint32_t create[2];
    decide(&w, m, 2, a, create);
    assert_int_equal(a[0].verdict, DECIDE_RETIRE);
    assert_int_equal(a[1].verdict, DECIDE_KEEP);
    // Wanted again before it is gone: it comes back rather than that one is made.
    w = want(2);
    decide(&w, m, 2, a, create);
    assert_int_equal(a[0].verdict, DECIDE_KEEP);
    assert_int_equal(create[0], 0);
}

static void nobodys_version_stays_until_as_many_serve(void **state)
{
    (void)state;
    struct decide_wanted w = want(2);
    struct decide_member m[] = {member("a", ODD, 'r'), member("b", ODD, 'r'), member("c", OLD, 'b'),
                                member("d", ODD, 'o')};
    struct decide_answer a[4];
    uint32_t create[2];
    decide(&w, m, 4, a, create);
    assert_int_equal(a[0].verdict, DECIDE_KEEP);
    assert_int_equal(a[1].verdict, DECIDE_KEEP);
    assert_int_equal(a[3].verdict, DECIDE_RETIRE); // it is off: nothing is lost
    assert_int_equal(create[0], 0);                // one more than wanted is there already
    m[2] = member("c", OLD, 'r');
    decide(&w, m, 4, a, create);
    assert_int_equal(a[0].verdict, DECIDE_KEEP);
    assert_int_equal(a[1].verdict, DECIDE_RETIRE);
    assert_int_equal(create[0], 1);
}

static void a_canary_is_made_beside_and_stands_in_its_slot(void **state)
{
    (void)state;
    struct decide_wanted w = want(2);
    snprintf(w.version[0], sizeof w.version[0], NEW);
    snprintf(w.version[1], sizeof w.version[1], OLD);
    w.stable_slot = 1;
    w.targets = (struct deploy_targets){.stable = 2, .other = 1, .surge = 2};
    struct decide_member m[] = {member("a", OLD, 'r'), member("b", OLD, 'r')};
    struct decide_answer a[2];
    uint32_t create[2];
    decide(&w, m, 2, a, create);
    assert_int_equal(a[0].slot, 1);
    assert_int_equal(create[0], 1);
    assert_int_equal(create[1], 0);
}

static void a_guest_that_never_gets_healthy_is_ended(void **state)
{
    (void)state;
    struct decide_wanted w = want(1);
    struct decide_member m = member("a", OLD, 'b');
    struct decide_answer a;
    uint32_t create[2];
    m.down_ms = 60000;
    decide(&w, &m, 1, &a, create);
    assert_int_equal(a.verdict, DECIDE_KEEP);
    m.down_ms = 60001;
    decide(&w, &m, 1, &a, create);
    assert_int_equal(a.verdict, DECIDE_REPLACE);
}

static void down_to_zero_all_go(void **state)
{
    (void)state;
    struct decide_wanted w = want(0);
    struct decide_member m[] = {member("a", OLD, 'r'), member("b", ODD, 'r')};
    struct decide_answer a[2];
    uint32_t create[2];
    decide(&w, m, 2, a, create);
    assert_int_equal(a[0].verdict, DECIDE_RETIRE);
    assert_int_equal(a[1].verdict, DECIDE_RETIRE);
    assert_int_equal(create[0], 0);
}

static void one_sleeps_where_nobody_asks(void **state)
{
    (void)state;
    struct decide_wanted w = want(0);
    struct decide_member m[] = {member("a", OLD, 'o'), member("b", OLD, 'o'),
                                member("c", NEW, 'o')};
    struct decide_answer a[3];
    uint32_t create[2];
    w.sleeps = true;
    decide(&w, m, 3, a, create);
    assert_int_equal(a[0].verdict, DECIDE_SLEEP);
    assert_int_equal(a[1].verdict, DECIDE_RETIRE);
    assert_int_equal(a[2].verdict, DECIDE_RETIRE); // of a version that is nobody's
    m[0] = member("a", OLD, 'r');
    decide(&w, m, 1, a, create);
    assert_int_equal(a[0].verdict, DECIDE_RETIRE); // first it is drained and shut down
    w = want(1);
    w.sleeps = true;
    m[0] = member("a", OLD, 'o');
    decide(&w, m, 1, a, create);
    assert_int_equal(a[0].verdict, DECIDE_START); // awake: no other is made
    assert_int_equal(create[0] + create[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_there_all_are_made),
        cmocka_unit_test(all_there_nothing_changes),
        cmocka_unit_test(a_guest_that_ended_is_started_and_not_replaced_by_another),
        cmocka_unit_test(too_many_the_worst_go),
        cmocka_unit_test(who_is_leaving_already_goes_on_leaving),
        cmocka_unit_test(nobodys_version_stays_until_as_many_serve),
        cmocka_unit_test(a_canary_is_made_beside_and_stands_in_its_slot),
        cmocka_unit_test(a_guest_that_never_gets_healthy_is_ended),
        cmocka_unit_test(down_to_zero_all_go),
        cmocka_unit_test(one_sleeps_where_nobody_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
