// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Values that a machine is asked for with.
//
// Links: hypercall/host/machine/values.c
#include "hypercall/host/machine/machine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void sets_give_their_members_in_order(void **unused)
{
    (void)unused;
    static const uint32_t wanted[] = {0, 2, 3, 4, 9, 1023};
    uint32_t n;
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(machine_set_member("0,2-4,9,1023", i, &n), 0);
        assert_int_equal(n, wanted[i]);
    }
    assert_int_equal(machine_set_member("0,2-4,9,1023", 6, &n), -ENOENT);
    assert_int_equal(machine_set_member("5-5", 0, &n), 0);
    assert_int_equal(n, 5);
    assert_int_equal(machine_set_member("5-5", UINT32_MAX, &n), -ENOENT);
}

static void what_is_no_set_is_refused_wherever_it_is_wrong(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "",       ",",    "a",  "-1", "3-1", "1,1", "2,1",        "1-3,2", "1,",    "1--2",
        "0-1024", "1024", "1 ", " 1", "1;2", "0x1", "4294967296", "1-",    "0,'/>", "0-1\n"};
    uint32_t n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(machine_set_member(bad[i], 0, &n), -EINVAL);
    }
}

static void cpus_are_a_model_and_features(void **unused)
{
    (void)unused;
    static const char *const good[] = {"host",
                                       "max",
                                       "Skylake-Server-v4",
                                       "max,-avx2",
                                       "EPYC,+svm,-npt",
                                       "qemu64,+sse4.2,+x2apic"};
    static const char *const bad[] = {"",          ",+a",     "max,",   "max,avx2", "max,+",
                                      "max,+-a",   "a b",     "a'b",    "-max",     "max,+a b",
                                      "max,+a=on", "max,,+a", "max,+a,"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(machine_cpu_is_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(machine_cpu_is_valid(bad[i]));
    }
}

static void addresses_are_whole(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"",
                                      "65:00.0",
                                      "0000:65:00",
                                      "0000:65:00.8",
                                      "0000:65:00.0 ",
                                      "0000:6g:00.0",
                                      "00000:65:00.0",
                                      "0000-65:00.0"};
    assert_true(machine_address_is_valid("0000:65:00.0"));
    assert_true(machine_address_is_valid("aB01:fF:1e.7"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(machine_address_is_valid(bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_give_their_members_in_order),
        cmocka_unit_test(what_is_no_set_is_refused_wherever_it_is_wrong),
        cmocka_unit_test(cpus_are_a_model_and_features),
        cmocka_unit_test(addresses_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
