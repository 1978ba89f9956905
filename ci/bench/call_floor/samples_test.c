// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Percentiles, by nearest rank.
// Links: ci/bench/call_floor/samples.c
#include "ci/bench/call_floor/samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void nothing_has_no_percentile(void **state)
{
    (void)state;
    assert_int_equal(samples_percentile(NULL, 0, 50), 0);
}

static void one_sample_is_every_percentile(void **state)
{
    (void)state;
    uint64_t v[] = {7};
    assert_int_equal(samples_percentile(v, 1, 0), 7);
    assert_int_equal(samples_percentile(v, 1, 50), 7);
    assert_int_equal(samples_percentile(v, 1, 99), 7);
}

static void ranks_of_a_hundred(void **state)
{
    (void)state;
    uint64_t v[100];
    for (uint64_t i = 0; i < 100; i++) {
        v[i] = (i * 37) % 100 + 1; // 1 to 100 in another order
    }
    assert_int_equal(samples_percentile(v, 100, 50), 50);
    assert_int_equal(samples_percentile(v, 100, 99), 99);
    assert_int_equal(samples_percentile(v, 100, 100), 100);
    assert_int_equal(samples_percentile(v, 100, 0), 1);
}

static void large_values_are_ordered(void **state)
{
    (void)state;
    uint64_t v[] = {UINT64_MAX, 0, 1ull << 63, 1};
    assert_true(samples_percentile(v, 4, 100) == UINT64_MAX);
    assert_int_equal(samples_percentile(v, 4, 50), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_has_no_percentile),
        cmocka_unit_test(one_sample_is_every_percentile),
        cmocka_unit_test(ranks_of_a_hundred),
        cmocka_unit_test(large_values_are_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
