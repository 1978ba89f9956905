// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// "address/prefix" is split or refused.
// Links: libos/net/address.c
#include "libos/net/address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void good_text_is_split(void **state)
{
    (void)state;
    char address[20];
    unsigned prefix;
    assert_int_equal(net_split_prefix("10.0.2.15/24", 32, address, sizeof address, &prefix), 0);
    assert_string_equal(address, "10.0.2.15");
    assert_int_equal(prefix, 24);
    assert_int_equal(net_split_prefix("10.0.2.15", 32, address, sizeof address, &prefix), 0);
    assert_int_equal(prefix, 32);
    assert_int_equal(net_split_prefix("fd00::2/64", 128, address, sizeof address, &prefix), 0);
    assert_string_equal(address, "fd00::2");
    assert_int_equal(net_split_prefix("0.0.0.0/0", 32, address, sizeof address, &prefix), 0);
    assert_int_equal(prefix, 0);
}

static void bad_text_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {
        "",          "/24",         "10.0.2.15/",   "10.0.2.15/33",          "10.0.2.15/-1",
        "1.2.3.4/x", "1.2.3.4/24x", "1.2.3.4/0024", "01234567890123456789/3"};
    char address[20];
    unsigned prefix;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (net_split_prefix(bad[i], 32, address, sizeof address, &prefix) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_text_is_split),
        cmocka_unit_test(bad_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
