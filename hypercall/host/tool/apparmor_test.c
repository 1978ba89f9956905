// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rules of this version and of older ones are told apart, and the mend leaves this version's alone.
//
// Links: hypercall/host/tool/apparmor.c
#include "hypercall/host/tool/apparmor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char ours[] = "hypercall/host/apparmor/libvirt-qemu";

static void holds(const char *path, bool current, bool denies)
{
    struct apparmor_rules r = apparmor_rules(path);
    assert_int_equal(r.current, current);
    assert_int_equal(r.denies, denies);
}

static void older_rules_that_deny_are_found_and_taken_out(void **unused)
{
    (void)unused;
    char path[] = "/tmp/tessera-apparmor.XXXXXX", command[300];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    holds("/nonexistent", false, false);
    holds(ours, true, false);
    holds(path, false, false);
    assert_true(dprintf(fd,
                        "  /var/lib/tessera/{models,cache}/** rk,\n"
                        "  deny /var/lib/tessera/** w,\n  # deny /var/lib/tessera/** w,\n") > 0);
    holds(path, false, true);
    // As it was mended before: appended only.
    snprintf(command, sizeof command, "cat %s >>%s", ours, path);
    assert_int_equal(system(command), 0);
    holds(path, true, true);
    snprintf(command, sizeof command, APPARMOR_DROP_OLD "%s", path);
    assert_int_equal(system(command), 0);
    holds(path, true, false);
    snprintf(command, sizeof command, "grep -qF 'deny /var/lib/tessera/{models,' %s", path);
    assert_int_equal(system(command), 0);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_rules_that_deny_are_found_and_taken_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
