// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Deployments in a simulated fleet: guests take three seconds to come, requests go by the share,
// versions fail and take their time as each test says.
//
// Links: hypercall/host/fleet/deploy.c
#include "hypercall/host/fleet/deploy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { TICK_MS = 500, BOOT_MS = 3000, GUESTS = 16 };

struct version {
    bool boots, crashes;
    double fails, ms; // part of the requests, time of one
    int64_t born[GUESTS];
    uint32_t alive;
    struct fleet_counters counters;
};
struct world {
    struct fleet_deployment d;
    struct version from, to;
    uint32_t replicas, failures, least_ready, most_alive;
    double rate; // requests a second
    int64_t now;
    uint32_t shares[64], share_count; // each one that was seen, in order
};

static uint32_t ready(const struct version *v, int64_t now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; v->boots && i < v->alive; i++) {
        n += now - v->born[i] >= BOOT_MS;
    }
    return n;
}

static struct world begin(enum fleet_strategy strategy, uint32_t replicas)
{
    struct world w = {.replicas = replicas, .rate = 20, .now = 1000000, .least_ready = 1000};
    w.from = (struct version){.boots = true, .ms = 100, .alive = replicas};
    w.to = (struct version){.boots = true, .ms = 100};
    w.d.strategy = strategy;
    w.d.limits = (struct fleet_limits){.error_rate = 0.05,
                                       .latency_ratio = 2,
                                       .requests = 20,
                                       .step_ms = 10000,
                                       .ready_ms = 60000};
    w.d.since_ms = w.now;
    assert_int_equal(deploy_parse_steps("10,50", &w.d), 0);
    return w;
}

static uint64_t waiting(const struct version *v, int64_t now)
{
    int64_t longest = 0;
    for (uint32_t i = 0; i < v->alive; i++) {
        bool serves = v->boots && now - v->born[i] >= BOOT_MS;
        longest = !serves && now - v->born[i] > longest ? now - v->born[i] : longest;
    }
    return (uint64_t)longest;
}

static struct deploy_seen look(const struct world *w)
{
    return (struct deploy_seen){.replicas = w->replicas,
                                .from_alive = w->from.alive,
                                .from_ready = ready(&w->from, w->now),
                                .to_alive = w->to.alive,
                                .to_ready = ready(&w->to, w->now),
                                .to_waiting_ms = waiting(&w->to, w->now),
                                .to_failures = w->failures,
                                .from = w->from.counters,
                                .to = w->to.counters,
                                .from_ms = w->from.ms,
                                .to_ms = w->to.ms};
}

static void serve(struct version *v, double requests, uint32_t alive)
{
    if (alive) {
        v->counters.requests += (uint64_t)requests;
        v->counters.errors += (uint64_t)(requests * v->fails);
    }
}

// What the converging loop would do: never fewer ready than wanted, never more than the surge.
static void converge(struct world *w, const struct deploy_seen *s)
{
    struct deploy_targets t;
    deploy_targets(&w->d, s, &t);
    while (w->to.alive < t.other && w->to.alive + w->from.alive < w->replicas + t.surge) {
        w->to.born[w->to.alive++] = w->now;
    }
    while (w->from.alive < t.stable && w->to.alive + w->from.alive < w->replicas + t.surge) {
        w->from.born[w->from.alive++] = w->now;
    }
    w->from.alive = w->from.alive > t.stable ? t.stable : w->from.alive;
    w->to.alive = w->to.alive > t.other && w->d.phase != FLEET_DONE ? t.other : w->to.alive;
}

static void run(struct world *w, int seconds)
{
    for (int64_t until = w->now + seconds * 1000; w->now < until; w->now += TICK_MS) {
        struct deploy_seen s = look(w);
        deploy_step(&w->d, &s, w->now);
        if (!deploy_is_running(&w->d)) {
            return;
        }
        converge(w, &s);
        if (w->to.crashes && w->to.alive && w->now % 5000 == 0) {
            w->failures++;
            w->to.born[0] = w->now;
        }
        s = look(w);
        uint32_t share = deploy_share(&w->d, &s), all = s.from_ready + s.to_ready;
        w->least_ready = all < w->least_ready ? all : w->least_ready;
        all = s.from_alive + s.to_alive;
        w->most_alive = all > w->most_alive ? all : w->most_alive;
        if ((!w->share_count || w->shares[w->share_count - 1] != share) && w->share_count < 64) {
            w->shares[w->share_count++] = share;
        }
        serve(&w->to, w->rate * TICK_MS / 1000 * share / 10000, s.to_ready);
        serve(&w->from, w->rate * TICK_MS / 1000 * (10000 - share) / 10000, s.from_ready);
    }
}

static void each_strategy_replaces_every_guest_and_never_has_too_few(void **state)
{
    (void)state;
    for (int strategy = FLEET_ROLLING; strategy <= FLEET_BLUE_GREEN; strategy++) {
        for (uint32_t n = 1; n <= 6; n++) {
            struct world w = begin((enum fleet_strategy)strategy, n);
            run(&w, 600);
            assert_int_equal(w.d.phase, FLEET_DONE);
            assert_int_equal(w.from.alive, 0);
            assert_int_equal(ready(&w.to, w.now), n);
            assert_true(w.least_ready >= n);
            assert_true(w.most_alive <= 2 * n);
            assert_string_equal(w.d.reason, "");
        }
    }
}

static void rolling_has_one_guest_more_at_most(void **state)
{
    (void)state;
    struct world w = begin(FLEET_ROLLING, 5);
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
    assert_int_equal(w.most_alive, 6);
}

static void a_canary_goes_up_by_its_steps(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 4);
    run(&w, 600);
    static const uint32_t wanted[] = {0, 1000, 5000, 10000};
    assert_int_equal(w.share_count, 4);
    assert_memory_equal(w.shares, wanted, sizeof wanted);
}

static void blue_green_switches_once(void **state)
{
    (void)state;
    struct world w = begin(FLEET_BLUE_GREEN, 3);
    run(&w, 600);
    static const uint32_t wanted[] = {0, 10000};
    assert_int_equal(w.share_count, 2);
    assert_memory_equal(w.shares, wanted, sizeof wanted);
}

static void a_version_that_fails_requests_is_rolled_back(void **state)
{
    (void)state;
    for (int strategy = FLEET_ROLLING; strategy <= FLEET_BLUE_GREEN; strategy++) {
        struct world w = begin((enum fleet_strategy)strategy, 4);
        w.to.fails = 0.5;
        run(&w, 600);
        assert_int_equal(w.d.phase, FLEET_ROLLED_BACK);
        assert_non_null(strstr(w.d.reason, "requests failed"));
        assert_int_equal(w.to.alive, 0);
        assert_int_equal(ready(&w.from, w.now), 4);
        assert_int_equal(w.shares[w.share_count - 1], 0);
    }
}

static void a_bad_canary_never_gets_more_than_its_first_step(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 4);
    w.to.fails = 1;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_ROLLED_BACK);
    for (uint32_t i = 0; i < w.share_count; i++) {
        assert_true(w.shares[i] <= 1000);
    }
    assert_true(w.to.counters.requests < 60);
    assert_int_equal(w.most_alive, 5);
}

static void a_version_no_worse_than_the_old_one_goes_on(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 2);
    w.rate = 200; // whole failures a look
    w.to.fails = w.from.fails = 0.3;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
}

static void a_slow_version_is_rolled_back(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 4);
    w.to.ms = 250;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_ROLLED_BACK);
    assert_non_null(strstr(w.d.reason, "2.5 times"));
    w = begin(FLEET_CANARY, 4);
    w.to.ms = 190;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
}

static void a_version_that_does_not_come_up_is_rolled_back(void **state)
{
    (void)state;
    for (int strategy = FLEET_ROLLING; strategy <= FLEET_BLUE_GREEN; strategy++) {
        struct world w = begin((enum fleet_strategy)strategy, 3);
        w.to.boots = false;
        run(&w, 59);
        assert_int_equal(w.d.phase, FLEET_STARTING);
        run(&w, 600);
        assert_int_equal(w.d.phase, FLEET_ROLLED_BACK);
        assert_non_null(strstr(w.d.reason, "ready within 60 seconds"));
        assert_int_equal(ready(&w.from, w.now), 3);
        assert_int_equal(w.from.alive, 3);
    }
}

static void a_version_whose_guests_end_is_rolled_back(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 3);
    w.rate = 0; // no request ever judges it
    w.to.crashes = true;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_ROLLED_BACK);
    assert_non_null(strstr(w.d.reason, "3 times"));
}

static void without_requests_a_canary_waits(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 2);
    w.rate = 0;
    run(&w, 3600);
    assert_int_equal(w.d.phase, FLEET_SHIFTING);
    assert_int_equal(w.d.weight, 10);
    w.rate = 20;
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
}

static void a_held_canary_waits_for_promotion(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 2);
    w.d.hold = true;
    run(&w, 3600);
    assert_int_equal(w.d.phase, FLEET_SHIFTING);
    assert_int_equal(w.d.weight, 10);
    assert_int_equal(deploy_promote(&w.d, w.now), 0);
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
    assert_int_equal(deploy_promote(&w.d, w.now), -EALREADY);
}

static void a_command_rolls_back_in_any_phase(void **state)
{
    (void)state;
    for (int seconds = 1; seconds < 60; seconds += 3) {
        for (int strategy = FLEET_ROLLING; strategy <= FLEET_BLUE_GREEN; strategy++) {
            struct world w = begin((enum fleet_strategy)strategy, 3);
            run(&w, seconds);
            int wanted = deploy_is_running(&w.d) ? 0 : -EALREADY;
            assert_int_equal(deploy_roll_back(&w.d, "by command", w.now), wanted);
            run(&w, 300);
            assert_int_equal(w.d.phase, wanted ? FLEET_DONE : FLEET_ROLLED_BACK);
            assert_int_equal(wanted ? w.from.alive : w.to.alive, 0);
            assert_true(w.least_ready >= 3);
            assert_string_equal(w.d.reason, wanted ? "" : "by command");
        }
    }
}

static void counters_that_begin_anew_are_no_failure(void **state)
{
    (void)state;
    struct world w = begin(FLEET_CANARY, 2);
    w.to.counters = w.from.counters = (struct fleet_counters){.requests = 5000, .errors = 4000};
    run(&w, 8);
    assert_int_equal(w.d.phase, FLEET_SHIFTING);
    w.to.counters = w.from.counters = (struct fleet_counters){0}; // another HAProxy
    run(&w, 600);
    assert_int_equal(w.d.phase, FLEET_DONE);
}

static void a_service_at_zero_takes_the_new_version_at_once(void **state)
{
    (void)state;
    for (int strategy = FLEET_ROLLING; strategy <= FLEET_BLUE_GREEN; strategy++) {
        struct world w = begin((enum fleet_strategy)strategy, 0);
        run(&w, 5);
        assert_int_equal(w.d.phase, FLEET_DONE);
    }
}

static void steps_are_read(void **state)
{
    (void)state;
    struct fleet_deployment d;
    assert_int_equal(deploy_parse_steps("5,25,50", &d), 0);
    assert_int_equal(d.step_count, 4);
    assert_int_equal(d.steps[3], 100);
    assert_int_equal(deploy_parse_steps("100", &d), 0);
    assert_int_equal(d.step_count, 1);
    static const char *const bad[] = {"0", "10,5",  "101",   "10,", ",10",
                                      "a", "10;20", "10,10", "-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(deploy_parse_steps(bad[i], &d), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_strategy_replaces_every_guest_and_never_has_too_few),
        cmocka_unit_test(rolling_has_one_guest_more_at_most),
        cmocka_unit_test(a_canary_goes_up_by_its_steps),
        cmocka_unit_test(blue_green_switches_once),
        cmocka_unit_test(a_version_that_fails_requests_is_rolled_back),
        cmocka_unit_test(a_bad_canary_never_gets_more_than_its_first_step),
        cmocka_unit_test(a_version_no_worse_than_the_old_one_goes_on),
        cmocka_unit_test(a_slow_version_is_rolled_back),
        cmocka_unit_test(a_version_that_does_not_come_up_is_rolled_back),
        cmocka_unit_test(a_version_whose_guests_end_is_rolled_back),
        cmocka_unit_test(without_requests_a_canary_waits),
        cmocka_unit_test(a_held_canary_waits_for_promotion),
        cmocka_unit_test(a_command_rolls_back_in_any_phase),
        cmocka_unit_test(counters_that_begin_anew_are_no_failure),
        cmocka_unit_test(a_service_at_zero_takes_the_new_version_at_once),
        cmocka_unit_test(steps_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
