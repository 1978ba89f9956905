// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Commands start twice as many guests at a time as there are CPUs; whoever ends lets the next
// one go, and nobody waits for ever. The clock is the test's own.
//
// Links: hypercall/host/guest/turn.c hypercall/host/guest/lock.c hypercall/host/machine/console.c
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t now_ms;
static void (*on_sleep)(void);
static char error[300], home[] = "/tmp/tessera-turn-test.XXXXXX";
static struct guest guests[8];
static volatile int stop;
static unsigned said;

// Of host.c, which would link libvirt.
int guest_refuse(char *out, size_t out_bytes, int rc, const char *format, ...)
{
    snprintf(out, out_bytes, "%s", format);
    return rc;
}

void guest_say(const struct guest_host *h, const char *format, ...)
{
    (void)h;
    (void)format;
    said++;
}

uint64_t guest_now_ms(void)
{
    return now_ms;
}

void guest_sleep_ms(long ms)
{
    now_ms += (uint64_t)ms;
    if (on_sleep) {
        on_sleep();
    }
}

static struct guest_host host = {.takes_turns = true, .stop = &stop};

static int take(unsigned i)
{
    return guest_take_turn(&host, &guests[i], error, sizeof error);
}

// One CPU: two turns.
static int set_up(void **unused)
{
    cpu_set_t set, one;
    (void)unused;
    CPU_ZERO(&one);
    if (!mkdtemp(home) || setenv("XDG_STATE_HOME", home, 1) != 0 ||
        sched_getaffinity(0, sizeof set, &set) != 0) {
        return -1;
    }
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    return sched_setaffinity(0, sizeof one, &one);
}

static int tear_down(void **unused)
{
    char command[100];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

static int begin(void **unused)
{
    (void)unused;
    memset(guests, 0, sizeof guests);
    on_sleep = NULL;
    now_ms = 1000000;
    stop = 0;
    said = 0;
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 8; i++) {
        guest_give_turn(&guests[i]);
    }
    return 0;
}

static void first_ends(void)
{
    if (now_ms >= 1000300) {
        guest_give_turn(&guests[0]);
    }
}

static void the_third_of_two_waits_until_one_ends(void **unused)
{
    (void)unused;
    assert_int_equal(take(0), 0);
    assert_int_equal(take(1), 0);
    assert_int_equal(guests[0].waited_ms + guests[1].waited_ms, 0);
    assert_int_equal(said, 0);
    on_sleep = first_ends;
    assert_int_equal(take(2), 0);
    assert_int_equal(guests[2].waited_ms, 300);
    assert_int_equal(said, 1);
    on_sleep = NULL;
    assert_int_equal(take(3), 0); // the other two have theirs still
    assert_true(guests[3].waited_ms > 300);
}

static void who_waits_for_long_goes_on_without(void **unused)
{
    (void)unused;
    assert_int_equal(take(0) | take(1), 0);
    assert_int_equal(take(2), 0);
    assert_in_range(guests[2].waited_ms, 5000, 60000);
}

static void nobody_keeps_a_turn_for_long(void **unused)
{
    (void)unused;
    assert_int_equal(take(0) | take(1), 0);
    guest_keep_turn(&guests[0]);
    assert_true(guests[0].turn.taken);
    now_ms += 10000;
    guest_keep_turn(&guests[0]);
    assert_int_equal(take(2), 0);
    assert_int_equal(guests[2].waited_ms, 0);
}

static void interrupt(void)
{
    stop = 1;
}

static void who_is_interrupted_starts_nothing(void **unused)
{
    (void)unused;
    assert_int_equal(take(0) | take(1), 0);
    on_sleep = interrupt;
    assert_int_equal(take(2), -EINTR);
    assert_false(guests[2].turn.taken);
    on_sleep = NULL;
    stop = 0;
    guest_give_turn(&guests[1]);
    assert_int_equal(take(3), 0); // nothing of the second is left
    assert_int_equal(guests[3].waited_ms, 0);
}

static void agents_and_other_machines_take_none(void **unused)
{
    (void)unused;
    struct guest_host agent = {0}, remote = {.takes_turns = true, .is_remote = true};
    assert_int_equal(take(0) | take(1), 0);
    assert_int_equal(guest_take_turn(&agent, &guests[2], error, sizeof error), 0);
    assert_int_equal(guest_take_turn(&remote, &guests[3], error, sizeof error), 0);
    assert_int_equal(guests[2].waited_ms + guests[3].waited_ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_third_of_two_waits_until_one_ends, begin, end),
        cmocka_unit_test_setup_teardown(who_waits_for_long_goes_on_without, begin, end),
        cmocka_unit_test_setup_teardown(nobody_keeps_a_turn_for_long, begin, end),
        cmocka_unit_test_setup_teardown(who_is_interrupted_starts_nothing, begin, end),
        cmocka_unit_test_setup_teardown(agents_and_other_machines_take_none, begin, end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
