// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ChaCha20 (vector of RFC 8439, 2.3.2), BLAKE2s (RFC 7693, appendix B, and longer inputs by
// Python's hashlib), and what the generator promises.
//
// Links: libos/virtio/chacha20.c libos/virtio/blake2s.c libos/virtio/drbg.c
#include "libos/virtio/chacha20.h"
#include "libos/virtio/drbg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect_hex(const uint8_t *data, size_t bytes, const char *hex)
{
    char text[129];
    for (size_t i = 0; i < bytes; i++) {
        snprintf(text + 2 * i, 3, "%02x", data[i]);
    }
    assert_string_equal(text, hex);
}

static void chacha20_matches_rfc_8439(void **state)
{
    (void)state;
    uint8_t key[32], out[64];
    for (unsigned i = 0; i < 32; i++) {
        key[i] = (uint8_t)i;
    }
    const uint8_t nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0};
    chacha20_block(key, 1, nonce, out);
    expect_hex(out, 64,
               "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
               "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
}

static void hash(const void *data, size_t bytes, size_t piece, uint8_t out[32])
{
    struct blake2s s;
    blake2s_init(&s);
    for (size_t at = 0; at < bytes; at += piece) {
        blake2s_update(&s, (const uint8_t *)data + at, bytes - at < piece ? bytes - at : piece);
    }
    blake2s_final(&s, out);
}

static void blake2s_matches_rfc_7693(void **state)
{
    (void)state;
    uint8_t out[32], data[300];
    hash("abc", 3, 3, out);
    expect_hex(out, 32, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    hash("", 0, 1, out);
    expect_hex(out, 32, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    for (size_t piece = 1; piece <= 300; piece += 13) { // however it is cut
        hash(data, 64, piece, out);
        expect_hex(out, 32, "56f34e8b96557e90c1f24b52d0c89d51086acf1b00f634cf1dde9233b8eaaa3e");
        hash(data, 300, piece, out);
        expect_hex(out, 32, "0d273350275ecbbb6d5631973856f57ff39f6d2284b81c3a3e1df16fb5e9711a");
    }
}

static void outputs_differ_and_keys_are_erased(void **state)
{
    (void)state;
    struct drbg g = {{0}}, before;
    drbg_mix(&g, "seed", 4);
    uint8_t key[32], a[100], b[100], zero[32] = {0};
    before = g;
    drbg_next(&g, key);
    assert_memory_not_equal(before.key, g.key, 32);
    assert_memory_not_equal(key, g.key, 32);
    drbg_expand(key, a, sizeof(a));
    assert_memory_equal(key, zero, 32);
    drbg_next(&g, key);
    drbg_expand(key, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    // The same state gives the same stream; a mixed one gives another.
    drbg_next(&before, key);
    drbg_expand(key, b, sizeof(b));
    assert_memory_equal(a, b, sizeof(a));
    drbg_mix(&before, "", 0);
    drbg_next(&before, key);
    drbg_expand(key, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

static void output_fills_exactly_what_was_asked(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 200; n++) {
        uint8_t key[32] = {1}, out[208];
        memset(out, 0xee, sizeof(out));
        drbg_expand(key, out, n);
        for (size_t i = n; i < sizeof(out); i++) {
            assert_int_equal(out[i], 0xee);
        }
    }
    // Bits are balanced, roughly: 8000 bytes have 32000 ones, give or take 700 (5 sigma: 632).
    uint8_t key[32] = {2}, out[8000];
    drbg_expand(key, out, sizeof(out));
    int ones = 0;
    for (size_t i = 0; i < sizeof(out); i++) {
        ones += __builtin_popcount(out[i]);
    }
    assert_in_range(ones, 31300, 32700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chacha20_matches_rfc_8439),
        cmocka_unit_test(blake2s_matches_rfc_7693),
        cmocka_unit_test(outputs_differ_and_keys_are_erased),
        cmocka_unit_test(output_fills_exactly_what_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
