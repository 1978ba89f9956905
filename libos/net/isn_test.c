// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SipHash against its authors' vectors; sequence numbers differ by connection and rise with time.
// Links: libos/net/isn.c
#include "libos/net/isn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void equals_the_published_vectors(void **state)
{
    (void)state;
    // Appendix A of the paper: 15 bytes 00…0e. And the empty message.
    uint8_t data[15];
    for (uint8_t i = 0; i < 15; i++)
        data[i] = i;
    assert_true(net_siphash(key, data, 15) == 0xa129ca6149be45e5);
    assert_true(net_siphash(key, data, 0) == 0x726fdb47dd0e0e31);
}

static void numbers_differ_by_connection_and_rise_with_time(void **state)
{
    (void)state;
    uint8_t a[36] = {10, 0, 2, 15}, b[36] = {10, 0, 2, 15};
    b[35] = 1;
    assert_true(net_isn(key, a, 36, 0) != net_isn(key, b, 36, 0));
    assert_int_equal(net_isn(key, a, 36, 1000000000) - net_isn(key, a, 36, 0), 250000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_published_vectors),
        cmocka_unit_test(numbers_differ_by_connection_and_rise_with_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
