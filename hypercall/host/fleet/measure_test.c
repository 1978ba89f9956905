// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Links: hypercall/host/fleet/measure.c
#include "hypercall/host/fleet/measure.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define NAME "tessera_e2e_request_latency_seconds"

static struct measure guest(double half, double one, double two, double inf)
{
    char text[1024];
    struct measure m;
    snprintf(text, sizeof text,
             "# HELP " NAME " Whole requests.\n# TYPE " NAME " histogram\n" NAME
             "_bucket{le=\"0.5\"} %.0f\n" NAME "_bucket{le=\"1\"} %.0f\n" NAME
             "_bucket{le=\"2\"} %.0f\n" NAME "_bucket{le=\"+Inf\"} %.0f\n" NAME "_sum 1.5\n"
             "tessera_requests_processing 3\ntessera_requests_deferred 7\n"
             "tessera_tokens_predicted_total 1234\n",
             half, one, two, inf);
    assert_int_equal(measure_parse(text, &m), 0);
    return m;
}

static void a_guests_text_is_read(void **state)
{
    (void)state;
    struct measure m = guest(1, 2, 3, 4);
    assert_int_equal(m.buckets, 4);
    assert_true(m.bound_s[1] == 1.0 && isinf(m.bound_s[3]));
    assert_true(m.cumulative[3] == 4 && m.processing == 3 && m.waiting == 7);
    assert_true(m.predicted == 1234);
}

static void texts_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct measure m;
    static const char *const bad[] = {
        "",
        "tessera_requests_processing 3\n",
        NAME "_bucket{le=\"1\"} 3\n",                                 // no +Inf
        NAME "_bucket{le=\"1\"} 3\n" NAME "_bucket{le=\"+Inf\"} 2\n", // falls
        NAME "_bucket{le=\"2\"} 3\n" NAME "_bucket{le=\"1\"} 3\n" NAME "_bucket{le=\"+Inf\"} 4\n",
        NAME "_bucket{le=\"+Inf\"} nan\n",
        NAME "_bucket{le=\"nan\"} 1\n" NAME "_bucket{le=\"+Inf\"} 1\n",
        NAME "_bucket{le=\"+Inf\"} -1\n",
        NAME "_bucket{le=\"+Inf\"\n} 1\n",
        NAME "_bucket{le=\"+Inf\"} 1\ntessera_requests_processing x\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(measure_parse(bad[i], &m), -EINVAL);
    }
}

static void a_window_is_the_difference_of_two_looks(void **state)
{
    (void)state;
    struct measure a = guest(100, 100, 100, 100), b = guest(100, 110, 110, 110);
    struct measure_window w = {0};
    measure_add(&w, &a, &b);
    assert_true(measure_requests(&w) == 10);
    assert_true(fabs(measure_quantile_ms(&w, 0.5) - 750) < 1e-6); // half of 0.5 to 1 s
    assert_true(fabs(measure_quantile_ms(&w, 1) - 1000) < 1e-6);
}

static void windows_of_several_guests_add_up(void **state)
{
    (void)state;
    struct measure a = guest(90, 90, 90, 90), b = guest(0, 0, 10, 10);
    struct measure_window w = {0};
    measure_add(&w, NULL, &a);
    measure_add(&w, NULL, &b);
    assert_true(measure_requests(&w) == 100);
    assert_true(measure_quantile_ms(&w, 0.9) <= 500);
    assert_true(fabs(measure_quantile_ms(&w, 0.95) - 1500) < 1e-6);
}

static void a_guest_started_anew_counts_from_nothing(void **state)
{
    (void)state;
    struct measure a = guest(100, 200, 300, 400), b = guest(0, 1, 1, 1);
    struct measure_window w = {0};
    measure_add(&w, &a, &b);
    assert_true(measure_requests(&w) == 1);
}

static void beyond_the_last_bound_is_the_last_bound(void **state)
{
    (void)state;
    struct measure a = guest(0, 0, 0, 5);
    struct measure_window w = {0};
    assert_true(measure_quantile_ms(&w, 0.95) == -1);
    measure_add(&w, NULL, &a);
    assert_true(measure_quantile_ms(&w, 0.95) == 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guests_text_is_read),
        cmocka_unit_test(texts_that_make_no_sense_are_refused),
        cmocka_unit_test(a_window_is_the_difference_of_two_looks),
        cmocka_unit_test(windows_of_several_guests_add_up),
        cmocka_unit_test(a_guest_started_anew_counts_from_nothing),
        cmocka_unit_test(beyond_the_last_bound_is_the_last_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
