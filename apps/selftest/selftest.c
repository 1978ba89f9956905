// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs the tests named by `test=` (a name, several with commas, or `all`) and exits with how it
// went: 0 all passed, 1 some failed, 2 no such test.
#include "apps/selftest/selftest.h"

#include "libos/app.h"
#include "libos/log.h"
#include "libos/sched.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char app_name[] = "selftest";
const char app_version[] = "0.1.0";
// `protect=-wx` … is honoured here and in no other image.
const bool pf_attack_image = true;

static const struct selftest *const groups[] = {memory_tests, thread_tests, time_tests, file_tests};
static const struct selftest *const special[] = {attacks, endings, weights};

static int run_one(const struct selftest *t)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    const char *why = t->run();
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (why) {
        printf("FAIL %s: %s\n", t->name, why);
    } else {
        printf("PASS %s %ld ms\n", t->name,
               (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
    }
    return why != NULL;
}

// Runs `name`, or everything when it is NULL. The number of tests run; *failed grows.
static int run_named(const char *name, int *failed)
{
    int run = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct selftest *t = groups[g]; t->name; t++) {
            if (!name || strcmp(name, t->name) == 0) {
                *failed += run_one(t);
                run++;
            }
        }
    }
    for (size_t g = 0; name && g < sizeof special / sizeof special[0]; g++) {
        for (const struct selftest *t = special[g]; t->name; t++) {
            if (strcmp(name, t->name) == 0) {
                printf("starting %s\n", name);
                *failed += run_one(t);
                run++;
            }
        }
    }
    return run;
}

int app_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    char list[512];
    stage_mark("listening");
    stage_print();
    if (app_option("test", list, sizeof list) <= 0) {
        strcpy(list, "all");
    }
    int failed = 0, run = 0;
    char *rest = list, *name;
    while ((name = strsep(&rest, ",")) != NULL) {
        int n = run_named(strcmp(name, "all") == 0 ? NULL : name, &failed);
        if (n == 0) {
            printf("FAIL %s: there is no such test\n", name);
            exit(2);
        }
        run += n;
    }
    printf("selftest: %d run, %d failed, %u CPUs\n", run, failed, sched_cpu_count());
    exit(failed != 0);
}
