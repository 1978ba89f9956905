// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How the machine ends: by the application, by the power button, by a restart. Each registers two
// drains that must run in order, last one first; only run by name.
#include "apps/selftest/selftest.h"

#include "libos/app.h"
#include "libos/sched.h"

#include <stdio.h>
#include <stdlib.h>

static int first_done;

static void drain_first(void *arg)
{
    strand_sleep_ns(5000000);
    first_done = 1;
    printf("drained %s\n", (const char *)arg);
}
static void drain_last(void *arg)
{
    printf("drained %s %s\n", (const char *)arg, first_done ? "in order" : "OUT OF ORDER");
}
static void drain_never(void *arg)
{
    (void)arg;
    printf("a drain that hangs\n");
    strand_sleep_ns(1000000000000u);
}
static void register_drains(void)
{
    app_on_shutdown(drain_last, "last");
    app_on_shutdown(drain_first, "first");
}

static const char *test_shutdown(void)
{
    register_drains();
    app_shutdown();
}

static const char *test_reboot(void)
{
    register_drains();
    app_reboot();
}

static const char *test_button(void)
{
    register_drains();
    printf("press the power button\n");
    strand_sleep_ns(30000000000u);
    return "nobody pressed it for 30 s";
}

static const char *test_hanging_drain(void)
{
    app_on_shutdown(drain_never, NULL);
    app_shutdown();
}

const struct selftest endings[] = {
    {"shutdown", test_shutdown},
    {"reboot", test_reboot},
    {"button", test_button},
    {"hanging-drain", test_hanging_drain},
    {NULL, NULL},
};
