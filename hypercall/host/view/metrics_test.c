// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a guest says of itself, read; percentiles of what came between two looks.
//
// Links: hypercall/host/view/metrics.c
// Libs: -lm
#include "hypercall/host/view/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void numbers_of_a_guest_are_read(void **state)
{
    struct view_metrics m;
    (void)state;
    view_metrics_parse("# HELP tessera_slots 9 Requests.\n# TYPE tessera_slots gauge\n"
                       "tessera_slots 4\ntessera_tokens_predicted_total 1234\n"
                       "tessera_kv_cache_usage 0.25\nother_slots 7\n"
                       "tessera_requests_total{finish_reason=\"stop\"} 5\n"
                       "tessera_requests_total{finish_reason=\"failed\"} 2\n"
                       "tessera_memory_used_bytes 1e6",
                       &m);
    assert_true(m.known);
    assert_int_equal(m.slots, 4);
    assert_int_equal(m.made_tokens, 1234);
    assert_int_equal(m.kv_usage * 100, 25);
    assert_int_equal(m.ended, 7);
    assert_int_equal(m.failed, 2);
    assert_int_equal(m.memory_used_bytes, 1000000);
}

static void an_answer_of_something_else_is_not_known(void **state)
{
    struct view_metrics m;
    (void)state;
    const char *texts[] = {"",
                           "\n\n",
                           "<html>",
                           "tessera_",
                           "tessera_slots",
                           "tessera_slots ",
                           "tessera_slots{ 4\n",
                           "# tessera_slots 4\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        view_metrics_parse(texts[i], &m);
        assert_false(m.known);
        assert_int_equal(m.slots, 0);
    }
}

static void numbers_that_are_none_count_as_nothing(void **state)
{
    struct view_metrics m;
    (void)state;
    view_metrics_parse("tessera_slots -4\ntessera_kv_cache_usage 1e300\n"
                       "tessera_uptime_seconds nan\ntessera_requests_deferred inf\n",
                       &m);
    assert_true(m.slots == 0 && m.uptime_seconds == 0 && m.waiting == 0);
    assert_true(m.kv_usage == 1);
}

static const char earlier[] = "tessera_e2e_request_latency_seconds_bucket{le=\"0.1\"} 10\n"
                              "tessera_e2e_request_latency_seconds_bucket{le=\"1\"} 10\n"
                              "tessera_e2e_request_latency_seconds_bucket{le=\"2\"} 10\n"
                              "tessera_e2e_request_latency_seconds_bucket{le=\"+Inf\"} 10\n";
static const char later[] = "tessera_e2e_request_latency_seconds_bucket{le=\"0.1\"} 10\n"
                            "tessera_e2e_request_latency_seconds_bucket{le=\"1\"} 10\n"
                            "tessera_e2e_request_latency_seconds_bucket{le=\"2\"} 14\n"
                            "tessera_e2e_request_latency_seconds_bucket{le=\"+Inf\"} 14\n";

static void percentiles_are_of_what_came_in_between(void **state)
{
    struct view_metrics a, b;
    (void)state;
    view_metrics_parse(earlier, &a);
    view_metrics_parse(later, &b);
    assert_int_equal(b.whole.buckets, 4);
    assert_true(isinf(b.whole.bound[3]));
    assert_true(fabs(view_quantile(&a.whole, &b.whole, 0.5) - 1.5) < 1e-9);
    assert_true(view_quantile(NULL, &b.whole, 0.5) <= 0.1);
    assert_true(view_quantile(&b.whole, &b.whole, 0.5) < 0);
    // Begun anew.
    assert_true(view_quantile(&b.whole, &a.whole, 0.5) <= 0.1);
    struct view_histogram none = {0};
    assert_true(view_quantile(NULL, &none, 0.5) < 0);
}

static void longer_than_all_bounds_is_the_last_bound(void **state)
{
    struct view_metrics m;
    (void)state;
    view_metrics_parse("tessera_e2e_request_latency_seconds_bucket{le=\"60\"} 0\n"
                       "tessera_e2e_request_latency_seconds_bucket{le=\"+Inf\"} 3\n",
                       &m);
    assert_true(view_quantile(NULL, &m.whole, 0.95) == 60);
}

static void bounds_that_do_not_ascend_and_too_many_are_dropped(void **state)
{
    struct view_metrics m;
    char text[8192] = "";
    (void)state;
    for (int i = 0; i < 60; i++) {
        char line[100];
        snprintf(line, sizeof line, "tessera_time_to_first_token_seconds_bucket{le=\"%d\"} 1\n",
                 i % 2 ? i + 1 : 1);
        strcat(text, line);
    }
    view_metrics_parse(text, &m);
    assert_true(m.first_token.buckets <= VIEW_BUCKETS);
    for (size_t i = 1; i < m.first_token.buckets; i++) {
        assert_true(m.first_token.bound[i] > m.first_token.bound[i - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_a_guest_are_read),
        cmocka_unit_test(an_answer_of_something_else_is_not_known),
        cmocka_unit_test(numbers_that_are_none_count_as_nothing),
        cmocka_unit_test(percentiles_are_of_what_came_in_between),
        cmocka_unit_test(longer_than_all_bounds_is_the_last_bound),
        cmocka_unit_test(bounds_that_do_not_ascend_and_too_many_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
