// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A service under simulated load: guests take a while to come, requests queue, the loop looks twice
// a second.
//
// Links: hypercall/host/fleet/autoscale.c
#include "hypercall/host/fleet/autoscale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { TICK_MS = 500, START_MS = 3000, SERVICE_MS = 500 };

struct world {
    struct autoscale_limits limits;
    struct autoscale_state state;
    uint64_t now, grown_ms;
    uint32_t replicas, ready, most, changes, ups, downs;
    double load;
    bool wake;
};

static struct world begin(uint32_t min, uint32_t max)
{
    return (struct world){.limits = {.min = min,
                                     .max = max,
                                     .p95_ms = 2000,
                                     .queue = 4,
                                     .cooldown_ms = 60000,
                                     .idle_ms = 300000},
                          .now = 1000,
                          .replicas = min,
                          .ready = min,
                          .most = min};
}

// Requests a second for so many seconds; each guest ends 1000 / SERVICE_MS a second.
static void run(struct world *w, double rate, uint32_t seconds)
{
    for (uint64_t until = w->now + seconds * 1000ull; w->now < until; w->now += TICK_MS) {
        if (w->ready < w->replicas && w->now - w->grown_ms >= START_MS) {
            w->ready = w->replicas;
        }
        double arrived = rate * TICK_MS / 1000, served = w->ready * (double)TICK_MS / SERVICE_MS;
        w->load = w->load + arrived > served ? w->load + arrived - served : 0;
        struct autoscale_seen s = {
            .replicas = w->replicas,
            .ready = w->ready,
            .load = w->load,
            .requests = rate > 0,
            .wake = w->wake,
            .p95_ms = rate > 0 && w->ready ? SERVICE_MS + w->load / w->ready * SERVICE_MS : -1};
        uint32_t n = autoscale_decide(&w->limits, &s, &w->state, w->now, NULL);
        assert_in_range(n, w->limits.min, w->limits.max);
        if (n > w->replicas) {
            w->grown_ms = w->now;
            w->ups++;
        }
        if (n < w->replicas) {
            w->ready = w->ready < n ? w->ready : n;
            w->downs++;
        }
        w->replicas = n;
        w->most = n > w->most ? n : w->most;
    }
}

static void load_beyond_the_target_grows_it_and_no_further_than_needed(void **state)
{
    (void)state;
    struct world w = begin(1, 6);
    run(&w, 5, 300); // needs 2.5 guests
    assert_in_range(w.replicas, 3, 6);
    run(&w, 5, 300);
    assert_true(w.load < 4 * w.replicas);
}

static void it_never_leaves_its_bounds(void **state)
{
    (void)state;
    struct world w = begin(2, 4);
    run(&w, 100, 120);
    assert_int_equal(w.replicas, 4);
    run(&w, 0, 3600);
    assert_int_equal(w.replicas, 2);
}

static void bounds_that_changed_are_kept_at_once(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 2, .max = 3};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 9, .ready = 9, .p95_ms = -1};
    assert_int_equal(autoscale_decide(&l, &s, &t, 1, NULL), 3);
    s.replicas = 0;
    assert_int_equal(autoscale_decide(&l, &s, &t, 2, NULL), 2);
}

static void growth_waits_for_the_guests_it_asked_for(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 1, .max = 64, .queue = 4, .cooldown_ms = 1000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 1, .ready = 1, .load = 1000, .p95_ms = -1};
    assert_int_equal(autoscale_decide(&l, &s, &t, 1000, NULL), 2); // at most twice as many
    s.replicas = 2;
    assert_int_equal(autoscale_decide(&l, &s, &t, 100000, NULL), 2);
    s.ready = 2;
    assert_int_equal(autoscale_decide(&l, &s, &t, 100500, NULL), 4);
}

static void a_short_lull_removes_nothing(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 1, .max = 8, .queue = 4, .cooldown_ms = 60000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 4, .ready = 4, .p95_ms = -1};
    for (uint64_t now = 1000; now < 1000000; now += 500) {
        // 50 seconds of nothing, 10 of what 4 guests are there for.
        s.load = now / 1000 % 60 < 50 ? 0 : 12;
        assert_int_equal(autoscale_decide(&l, &s, &t, now, NULL), 4);
    }
    s.load = 12;
    assert_int_equal(autoscale_decide(&l, &s, &t, 999999, NULL), 4);
    s.load = 0;
    assert_int_equal(autoscale_decide(&l, &s, &t, 1000000, NULL), 4);
    assert_int_equal(autoscale_decide(&l, &s, &t, 1059999, NULL), 4);
    assert_int_equal(autoscale_decide(&l, &s, &t, 1060000, NULL), 3);
}

static void growth_right_after_a_guest_went_doubles_the_cool_down(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 1, .max = 8, .queue = 4, .cooldown_ms = 60000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 3, .ready = 3, .p95_ms = -1};
    autoscale_decide(&l, &s, &t, 1000, NULL);
    s.replicas = autoscale_decide(&l, &s, &t, 61000, NULL);
    assert_int_equal(s.replicas, 2);
    s.ready = 2, s.load = 9;
    s.replicas = autoscale_decide(&l, &s, &t, 80000, NULL);
    assert_int_equal(s.replicas, 3);
    s.ready = 3, s.load = 0;
    assert_int_equal(autoscale_decide(&l, &s, &t, 100000, NULL), 3);
    assert_int_equal(autoscale_decide(&l, &s, &t, 219000, NULL), 3);
    assert_int_equal(autoscale_decide(&l, &s, &t, 220000, NULL), 2);
}

static void steady_load_does_not_make_it_swing(void **state)
{
    (void)state;
    for (double rate = 0.5; rate < 11; rate += 0.5) {
        struct world w = begin(1, 6);
        run(&w, rate, 600);
        w.ups = w.downs = 0;
        run(&w, rate, 3600);
        assert_true(w.ups + w.downs <= 14); // without hysteresis: every minute or two
    }
}

static void latency_alone_grows_it_by_one(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 1, .max = 8, .p95_ms = 2000, .cooldown_ms = 1000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 3, .ready = 3, .p95_ms = 2500, .requests = true};
    const char *why;
    assert_int_equal(autoscale_decide(&l, &s, &t, 1000, &why), 4);
    assert_string_equal(why, "more load than its target");
    s.p95_ms = 1500; // between half and whole: stays for ever
    for (uint64_t now = 20000; now < 1000000; now += 500) {
        assert_int_equal(autoscale_decide(&l, &s, &t, now, NULL), 3);
    }
}

static void to_zero_after_idleness_and_back_by_a_request(void **state)
{
    (void)state;
    struct world w = begin(0, 4);
    w.replicas = w.ready = 1;
    run(&w, 1, 60);
    assert_int_equal(w.replicas, 1);
    run(&w, 0, 290);
    assert_int_equal(w.replicas, 1);
    run(&w, 0, 20);
    assert_int_equal(w.replicas, 0);
    run(&w, 0, 3600);
    assert_int_equal(w.replicas, 0);
    w.wake = true;
    run(&w, 0, 1);
    w.wake = false;
    assert_int_equal(w.replicas, 1);
    run(&w, 0, 250); // as long idle as any other
    assert_int_equal(w.replicas, 1);
    run(&w, 0, 60);
    assert_int_equal(w.replicas, 0);
}

static void a_slow_request_keeps_it_from_zero(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 0, .max = 2, .queue = 4, .idle_ms = 10000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 1, .ready = 1, .load = 1, .p95_ms = -1};
    for (uint64_t now = 1000; now < 100000; now += 500) {
        assert_int_equal(autoscale_decide(&l, &s, &t, now, NULL), 1);
    }
}

static void an_agent_that_just_started_does_not_take_its_own_age_for_idleness(void **state)
{
    (void)state;
    struct autoscale_limits l = {.min = 0, .max = 2, .queue = 4, .idle_ms = 10000};
    struct autoscale_state t = {0};
    struct autoscale_seen s = {.replicas = 1, .ready = 1, .p95_ms = -1};
    assert_int_equal(autoscale_decide(&l, &s, &t, 5000000, NULL), 1);
    assert_int_equal(autoscale_decide(&l, &s, &t, 5009999, NULL), 1);
    assert_int_equal(autoscale_decide(&l, &s, &t, 5010000, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_beyond_the_target_grows_it_and_no_further_than_needed),
        cmocka_unit_test(it_never_leaves_its_bounds),
        cmocka_unit_test(bounds_that_changed_are_kept_at_once),
        cmocka_unit_test(growth_waits_for_the_guests_it_asked_for),
        cmocka_unit_test(a_short_lull_removes_nothing),
        cmocka_unit_test(growth_right_after_a_guest_went_doubles_the_cool_down),
        cmocka_unit_test(steady_load_does_not_make_it_swing),
        cmocka_unit_test(latency_alone_grows_it_by_one),
        cmocka_unit_test(to_zero_after_idleness_and_back_by_a_request),
        cmocka_unit_test(a_slow_request_keeps_it_from_zero),
        cmocka_unit_test(an_agent_that_just_started_does_not_take_its_own_age_for_idleness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
