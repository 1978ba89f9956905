// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fast checksum equals the one written down from RFC 1071, at every length and alignment.
// Links: libos/net/checksum.c
#include "libos/net/port/net_port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint16_t reference(const unsigned char *p, int bytes)
{
    uint32_t sum = 0;
    for (int i = 0; i < bytes; i++)
        sum += i % 2 ? (uint32_t)p[i] << 8 : p[i];
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)sum;
}

static void equals_the_reference_at_any_length_and_alignment(void **state)
{
    (void)state;
    unsigned char *block = malloc(1700);
    srand(1);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 1700; i++)
            block[i] = (unsigned char)(round == 0 ? 0xff : round == 1 ? 0 : rand());
        for (int start = 0; start < 9; start++)
            for (int bytes = 0; bytes < 1600; bytes++) {
                uint16_t got = net_checksum(block + start, bytes);
                uint16_t want = reference(block + start, bytes);
                if (got != want)
                    fail_msg("start %d, %d bytes: %04x instead of %04x", start, bytes, got, want);
            }
    }
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_reference_at_any_length_and_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
