// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SHA-256 in both kinds against mbedTLS, for every length up to some blocks and a long text.
// Links: libos/image/sha256.c libos/image/sha256_x86.c
// Libs: -lmbedcrypto
#include "libos/sha256.h"
#include "libos/image/sha256.h"

#include <mbedtls/sha256.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void check(const uint8_t *text, size_t bytes)
{
    uint8_t wanted[32], found[32];
    assert_int_equal(mbedtls_sha256_ret(text, bytes, wanted, 0), 0);
    sha256_portable(text, bytes, found);
    assert_memory_equal(found, wanted, 32);
    memset(found, 0, sizeof found);
    sha256(text, bytes, found);
    assert_memory_equal(found, wanted, 32);
}

static void every_short_length_and_alignment_is_as_in_mbedtls(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes++) {
        uint8_t *text = malloc(bytes + 1); // its end is the allocation's: a read beyond is caught
        for (size_t i = 0; i < bytes + 1; i++) {
            text[i] = (uint8_t)(i * 37 + bytes);
        }
        check(text + 1, bytes);
        free(text);
    }
}

static void a_long_text_is_as_in_mbedtls(void **state)
{
    (void)state;
    size_t bytes = (3u << 20) + 17;
    uint8_t *text = malloc(bytes);
    uint32_t x = 1;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (uint8_t)(x >> 24);
    }
    check(text, bytes);
    free(text);
}

static void the_cpu_is_asked(void **state)
{
    (void)state;
    if (!sha256_has_instructions()) {
        skip(); // the comparison above was of the portable code with itself
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_short_length_and_alignment_is_as_in_mbedtls),
        cmocka_unit_test(a_long_text_is_as_in_mbedtls),
        cmocka_unit_test(the_cpu_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
