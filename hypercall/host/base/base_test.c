// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Libs: -lmbedcrypto
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

// ---- hex ---------------------------------------------------------------------------------------

static void test_hex_goes_there_and_back(void **state)
{
    uint8_t bytes[256], again[256];
    char text[513];
    (void)state;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    hex_write(bytes, sizeof bytes, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_read(text, again, sizeof again));
    assert_memory_equal(again, bytes, sizeof bytes);
}

static void test_hex_takes_small_digits_only_and_stops_at_the_end(void **state)
{
    static const char *const bad[] = {"0G", "g0", "0A", "A0", "0", "", " 1", "+1", "0x"};
    uint8_t out[2] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(hex_read(bad[i], out, 1));
    }
    assert_false(hex_read("0102", out, 3)); // reads the NUL, nothing after it
    assert_true(hex_read("a9zz", out, 1));
    assert_int_equal(out[0], 0xa9);
}

// ---- SHA-256 -----------------------------------------------------------------------------------

// FIPS 180-2, appendix B.1.
static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void test_sha256_is_the_standards(void **state)
{
    char text[SHA256_TEXT];
    (void)state;
    assert_int_equal(sha256_bytes_text("abc", 3, text), 0);
    assert_string_equal(text, of_abc);
    assert_int_equal(sha256_bytes_text("", 0, text), 0);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void count_bytes(void *context, uint64_t done)
{
    uint64_t *last = context;
    assert_true(done > *last);
    *last = done;
}

static void test_sha256_of_a_file_is_that_of_its_first_bytes(void **state)
{
    enum { BYTES = (9 << 20) + 5 }; // some steps and a rest
    uint8_t *data = malloc(BYTES), found[SHA256_BYTES], wanted[SHA256_BYTES];
    uint64_t done = 0;
    int fd = memfd_create("sha256", 0);
    (void)state;
    assert_non_null(data);
    assert_true(fd >= 0);
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (uint8_t)(i * i >> 7);
    }
    for (size_t at = 0; at < BYTES;) {
        ssize_t n = write(fd, data + at, BYTES - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(sha256_bytes(data, BYTES - 100, wanted), 0);
    assert_int_equal(sha256_file(fd, BYTES - 100, count_bytes, &done, found), 0);
    assert_memory_equal(found, wanted, sizeof wanted);
    assert_int_equal(done, BYTES - 100);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), BYTES); // its offset stayed
    assert_int_equal(sha256_bytes(data, BYTES, wanted), 0);
    assert_int_equal(sha256_file(fd, SHA256_WHOLE_FILE, NULL, NULL, found), 0);
    assert_memory_equal(found, wanted, sizeof wanted);
    assert_int_equal(sha256_file(fd, BYTES + 1ull, NULL, NULL, found), -ESTALE);
    assert_int_equal(sha256_file(-1, 1, NULL, NULL, found), -EBADF);
    close(fd);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex_goes_there_and_back),
        cmocka_unit_test(test_hex_takes_small_digits_only_and_stops_at_the_end),
        cmocka_unit_test(test_sha256_is_the_standards),
        cmocka_unit_test(test_sha256_of_a_file_is_that_of_its_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
