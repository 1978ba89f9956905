// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Names and ports are claimed by one run at a time, and free again when it ends, however it does.
//
// Links: hypercall/host/guest/lock.c hypercall/host/machine/console.c
// Links: hypercall/host/store/folders.c
#include "hypercall/host/guest/private.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

// Of host.c, which would link libvirt.
int guest_refuse(char *error, size_t error_bytes, int rc, const char *format, ...)
{
    snprintf(error, error_bytes, "%s", format);
    return rc;
}

uint64_t guest_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

void guest_sleep_ms(long ms)
{
    usleep((useconds_t)ms * 1000);
}

static char error[300], home[] = "/tmp/tessera-lock-test.XXXXXX";

static int set_up(void **unused)
{
    (void)unused;
    return mkdtemp(home) ? setenv("XDG_STATE_HOME", home, 1) : -1;
}

static int tear_down(void **unused)
{
    char command[100];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

static void a_claim_is_one_runs_until_it_closes(void **unused)
{
    (void)unused;
    int a = guest_claims_open(error, sizeof error), b = guest_claims_open(error, sizeof error);
    assert_true(a >= 0 && b >= 0);
    assert_true(guest_claim_port(a, 8080));
    assert_true(guest_claim_port(a, 8080)); // its own already
    assert_false(guest_claim_port(b, 8080));
    assert_true(guest_claim_port(b, 8081));
    assert_true(guest_claim_name(a, "demo"));
    assert_false(guest_claim_name(b, "demo"));
    assert_true(guest_claim_name(b, "demo-2"));
    close(a);
    assert_true(guest_claim_port(b, 8080));
    assert_true(guest_claim_name(b, "demo"));
    close(b);
}

static void claims_do_not_hold_the_lock_of_all(void **unused)
{
    (void)unused;
    int claims = guest_claims_open(error, sizeof error);
    assert_true(guest_claim_port(claims, 1) && guest_claim_port(claims, 65535) &&
                guest_claim_name(claims, ""));
    int lock = guest_lock(error, sizeof error);
    assert_true(lock >= 0);
    close(lock);
    close(claims);
}

static void the_lock_waits_for_its_holder_and_survives_its_death(void **unused)
{
    (void)unused;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t holder = fork();
    if (holder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // also where the test fails before it is killed
        int lock = guest_lock(error, sizeof error);
        int claims = guest_claims_open(error, sizeof error);
        char good = lock >= 0 && guest_claim_port(claims, 9000);
        if (write(ready[1], &good, 1) != 1) {
            _exit(1);
        }
        pause();
    }
    char good = 0;
    assert_int_equal(read(ready[0], &good, 1), 1);
    assert_int_equal(good, 1);
    int claims = guest_claims_open(error, sizeof error);
    assert_false(guest_claim_port(claims, 9000));
    pid_t killer = fork();
    if (killer == 0) {
        usleep(100000);
        _exit(kill(holder, SIGKILL) != 0);
    }
    int lock = guest_lock(error, sizeof error); // waits
    assert_true(lock >= 0);
    assert_true(guest_claim_port(claims, 9000));
    int status;
    // The lock came because the holder died: it cannot have been alive.
    assert_int_equal(waitpid(holder, &status, 0), holder);
    assert_true(WIFSIGNALED(status));
    waitpid(killer, &status, 0);
    close(lock);
    close(claims);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_is_one_runs_until_it_closes),
        cmocka_unit_test(claims_do_not_hold_the_lock_of_all),
        cmocka_unit_test(the_lock_waits_for_its_holder_and_survives_its_death),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
