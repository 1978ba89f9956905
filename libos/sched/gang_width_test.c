// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a gang pays, on machines that are simulated.
// Links: libos/sched/gang_width.c
#include "libos/sched/gang_width.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

// Runs jobs of `work_ns` on `width` cores for `span_ns` of simulated time; a wide job takes its
// share and `late_ns` more. Returns how much of the time's work was done, per mille of one core's.
static uint64_t simulate(struct gang_judge *g, uint64_t *now, uint64_t span_ns, uint64_t work_ns,
                         unsigned width, uint64_t late_ns, unsigned *wide_share)
{
    uint64_t end = *now + span_ns, jobs = 0, wide = 0, start = *now;
    while (*now < end) {
        jobs++;
        if (gang_judge_wide(g, 1, 100, *now)) {
            uint64_t own = work_ns / width;
            *now += own + late_ns;
            gang_judge_wide_ran(g, 1, 100, width, own, own + late_ns, *now);
            wide++;
        } else {
            *now += work_ns;
            gang_judge_narrow_ran(g, 1, 100, work_ns);
        }
    }
    *wide_share = (unsigned)(wide * 1000 / jobs);
    return jobs * work_ns * 1000 / (*now - start);
}

static void good_cores_are_used(void **state)
{
    (void)state;
    struct gang_judge g = {0};
    uint64_t now = 1;
    unsigned wide;
    uint64_t rate = simulate(&g, &now, 1000000000, 100000, 4, 2000, &wide);
    assert_int_equal(wide, 1000);
    assert_true(rate > 3500);
}

static void small_jobs_run_alone(void **state)
{
    (void)state;
    struct gang_judge g = {0};
    uint64_t now = 1;
    unsigned wide;
    simulate(&g, &now, 100000000, 2000, 4, 1500, &wide);
    assert_true(wide < 10);
}

static void stolen_cores_cost_little(void **state)
{
    (void)state;
    struct gang_judge g = {0};
    uint64_t now = 1;
    unsigned wide;
    simulate(&g, &now, 5000000000, 100000, 4, 3000000, &wide);
    uint64_t rate = simulate(&g, &now, 5000000000, 100000, 4, 3000000, &wide);
    assert_true(rate > 970); // at most 3 % goes into trying again
    // and when the host is free again, they are used within two pauses
    simulate(&g, &now, 2600000000, 100000, 4, 2000, &wide);
    rate = simulate(&g, &now, 1000000000, 100000, 4, 2000, &wide);
    assert_true(rate > 3000);
}

static void one_late_job_changes_nothing(void **state)
{
    (void)state;
    struct gang_judge g = {0};
    uint64_t now = 1;
    unsigned wide;
    simulate(&g, &now, 100000000, 100000, 4, 2000, &wide);
    gang_judge_wide_ran(&g, 1, 100, 4, 25000, 1500000, now);
    assert_true(gang_judge_wide(&g, 1, 100, now));
}

static void an_interrupted_run_does_not_hide_small_work(void **state)
{
    (void)state;
    struct gang_judge g = {0};
    for (int i = 0; i < 100; i++) {
        gang_judge_narrow_ran(&g, 1, 100, i % 10 == 0 ? 10000000 : 3000);
    }
    assert_false(gang_judge_wide(&g, 1, 100, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_cores_are_used),
        cmocka_unit_test(small_jobs_run_alone),
        cmocka_unit_test(stolen_cores_cost_little),
        cmocka_unit_test(one_late_job_changes_nothing),
        cmocka_unit_test(an_interrupted_run_does_not_hide_small_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
