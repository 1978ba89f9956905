// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The console formatter agrees with the C library's wherever it offers the same.
// Links: platform/crash/format.c
#include "platform/crash/format.h"

#include <limits.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static size_t format(char *buf, size_t size, const char *f, ...)
{
    va_list args;
    va_start(args, f);
    size_t n = pf_format(buf, size, f, args);
    va_end(args);
    return n;
}

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[128], theirs[128];                                                               \
        size_t n = format(ours, sizeof ours, __VA_ARGS__);                                         \
        int m = snprintf(theirs, sizeof theirs, __VA_ARGS__);                                      \
        assert_string_equal(ours, theirs);                                                         \
        assert_int_equal(n, m);                                                                    \
    } while (0)

static void numbers_agree(void **state)
{
    (void)state;
    SAME("%d %i %u", 0, -1, 4000000000u);
    SAME("%d %d", INT_MIN, INT_MAX);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld %llx %zu %zx", -5ll, 77ull, sizeof(int), (size_t)255);
    SAME("%x %X %08x %16lx|%-8x|", 0xbeefu, 0xbeefu, 0x1fu, 0x1234ul, 0xau);
    SAME("%5d|%-5d|%05d|%05d", 42, 42, 42, -42);
    SAME("%3d %*d %-*d|", 12345, 6, 7, 6, 7);
    SAME("%hd %hu %hhx", (short)-3, (unsigned short)65535, (unsigned char)200);
    SAME("%p", (void *)(uintptr_t)0xffff880012345678ull);
}

static void text_agrees(void **state)
{
    (void)state;
    SAME("%s|%10s|%-10s|%.3s|%.*s|%8.2s", "abc", "def", "ghi", "jklmno", 2, "pqr", "stu");
    SAME("%c%c%%", 'x', 'y');
    SAME("plain");
    SAME("%s", "");
}

static void a_null_string_is_named(void **state)
{
    (void)state;
    char buf[32];
    format(buf, sizeof buf, "%s", (char *)NULL);
    assert_string_equal(buf, "(null)");
}

static void a_short_buffer_is_cut_and_terminated(void **state)
{
    (void)state;
    char buf[9] = "########";
    assert_int_equal(format(buf, 5, "%s%d", "abcdef", 123), 9);
    assert_string_equal(buf, "abcd");
    assert_int_equal(buf[5], '#');
    assert_int_equal(format(NULL, 0, "%d", 12345), 5);
}

static void unknown_conversions_are_shown(void **state)
{
    (void)state;
    char buf[32];
    format(buf, sizeof buf, "%q %", 1);
    assert_string_equal(buf, "%q %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_agree),
        cmocka_unit_test(text_agrees),
        cmocka_unit_test(a_null_string_is_named),
        cmocka_unit_test(a_short_buffer_is_cut_and_terminated),
        cmocka_unit_test(unknown_conversions_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
