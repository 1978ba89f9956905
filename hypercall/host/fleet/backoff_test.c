// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Links: hypercall/host/fleet/backoff.c
#include "hypercall/host/fleet/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_first_start_is_at_once(void **state)
{
    (void)state;
    struct backoff b = {0};
    assert_true(backoff_may_start(&b, 1));
}

static void pauses_double_up_to_a_minute(void **state)
{
    (void)state;
    struct backoff b = {0};
    uint64_t now = 1000000;
    static const uint64_t wanted[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (int i = 0; i < 8; i++) {
        backoff_failed(&b, now);
        assert_int_equal(b.next_ms - now, wanted[i]);
        assert_false(backoff_may_start(&b, now + wanted[i] - 1));
        assert_true(backoff_may_start(&b, now + wanted[i]));
        now += 100000; // so far apart that nothing flaps
        assert_false(b.flapping);
    }
}

static void a_minute_of_health_forgives_all(void **state)
{
    (void)state;
    struct backoff b = {0};
    for (int i = 0; i < 4; i++) {
        backoff_failed(&b, 1000);
    }
    backoff_seen(&b, true, 20000);
    backoff_seen(&b, true, 79999);
    assert_int_equal(b.failures, 4);
    backoff_seen(&b, true, 80000);
    assert_int_equal(b.failures, 0);
    backoff_failed(&b, 90000);
    assert_int_equal(b.next_ms, 91000);
}

static void health_that_breaks_off_counts_for_nothing(void **state)
{
    (void)state;
    struct backoff b = {0};
    backoff_failed(&b, 1000);
    backoff_seen(&b, true, 2000);
    backoff_seen(&b, false, 50000);
    backoff_seen(&b, true, 51000);
    backoff_seen(&b, true, 100000);
    assert_int_equal(b.failures, 1);
}

static void six_ends_in_five_minutes_are_flapping(void **state)
{
    (void)state;
    struct backoff b = {0};
    for (uint64_t i = 0; i < 5; i++) {
        backoff_failed(&b, 1000 + i * 1000);
        assert_false(b.flapping);
    }
    backoff_failed(&b, 6000);
    assert_true(b.flapping);
    assert_int_equal(b.next_ms, 66000);
    // It stays marked until it is healthy for long, and is tried once a minute.
    backoff_failed(&b, 1000000);
    assert_true(b.flapping);
    assert_int_equal(b.next_ms, 1060000);
    backoff_seen(&b, true, 1070000);
    backoff_seen(&b, true, 1130000);
    assert_false(b.flapping);
}

static void six_ends_in_a_longer_time_are_not(void **state)
{
    (void)state;
    struct backoff b = {0};
    for (uint64_t i = 0; i < 12; i++) {
        backoff_failed(&b, 1000 + i * 61000);
        assert_false(b.flapping);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_start_is_at_once),
        cmocka_unit_test(pauses_double_up_to_a_minute),
        cmocka_unit_test(a_minute_of_health_forgives_all),
        cmocka_unit_test(health_that_breaks_off_counts_for_nothing),
        cmocka_unit_test(six_ends_in_five_minutes_are_flapping),
        cmocka_unit_test(six_ends_in_a_longer_time_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
