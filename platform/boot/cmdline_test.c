// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Looking up words of the kernel command line.
// Links: platform/boot/cmdline.c
#include "platform/boot/cmdline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char value[16];

static int find(const char *line, const char *key)
{
    return pf_cmdline_find(line, key, value, sizeof value);
}

static void values_are_found_by_their_whole_key(void **state)
{
    (void)state;
    assert_int_equal(find("model=x.gguf net=dhcp", "net"), 4);
    assert_string_equal(value, "dhcp");
    assert_int_equal(find("network=no anet=1", "net"), -ENOENT);
    assert_int_equal(find("", "net"), -ENOENT);
    assert_int_equal(find("a=net=3", "net"), -ENOENT);
    assert_int_equal(find("a=b=c", "a"), 3);
    assert_string_equal(value, "b=c");
}

static void a_bare_key_has_an_empty_value(void **state)
{
    (void)state;
    assert_int_equal(find("quiet nokaslr", "nokaslr"), 0);
    assert_string_equal(value, "");
    assert_int_equal(find("x= y=1", "x"), 0);
}

static void the_last_of_two_counts(void **state)
{
    (void)state;
    assert_int_equal(find("k=1 k=22\n", "k"), 2);
    assert_string_equal(value, "22");
}

static void quotes_hold_blanks_together(void **state)
{
    (void)state;
    assert_int_equal(find("t=\"a b k=1\" k=2", "t"), 7);
    assert_string_equal(value, "a b k=1");
    assert_int_equal(find("t=\"a b k=1\" k=2", "k"), 1);
    assert_string_equal(value, "2");
    assert_int_equal(find("t=\"open", "t"), 4);
}

static void a_small_buffer_is_an_error_not_a_cut(void **state)
{
    (void)state;
    assert_int_equal(find("k=0123456789abcde", "k"), 15);
    assert_int_equal(find("k=0123456789abcdef", "k"), -ERANGE);
}

static void listed_items_match_whole(void **state)
{
    (void)state;
    assert_true(pf_cmdline_listed("protect=-wx,-nx", "protect", "-nx"));
    assert_true(pf_cmdline_listed("protect=-wx,-nx", "protect", "-wx"));
    assert_false(pf_cmdline_listed("protect=-wx,-nxx", "protect", "-nx"));
    assert_false(pf_cmdline_listed("protect=-nx", "protect", "-n"));
    assert_false(pf_cmdline_listed("other=-nx", "protect", "-nx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_by_their_whole_key),
        cmocka_unit_test(a_bare_key_has_an_empty_value),
        cmocka_unit_test(the_last_of_two_counts),
        cmocka_unit_test(quotes_hold_blanks_together),
        cmocka_unit_test(a_small_buffer_is_an_error_not_a_cut),
        cmocka_unit_test(listed_items_match_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
