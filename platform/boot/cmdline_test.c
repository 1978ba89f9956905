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
#include <string.h>
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

static char line[256], refused[16], dropped[16];

static void seal(const char *text)
{
    strcpy(line, text);
    pf_cmdline_seal(line, refused, dropped, sizeof refused);
}

static void a_sealed_line_keeps_the_machine_and_names_the_rest(void **state)
{
    (void)state;
    seal("");
    assert_string_equal(line, "");
    assert_string_equal(refused, "");
    seal(" virtio_mmio.device=512@0xfeb00000:5  virtio_mmio.device=512@0xfeb00200:6 ");
    assert_string_equal(line,
                        "virtio_mmio.device=512@0xfeb00000:5 virtio_mmio.device=512@0xfeb00200:6");
    assert_string_equal(refused, "");
    assert_string_equal(dropped, "");
    seal("nokaslr virtio_mmio.device=1 http.port=8080 shell http.key=x");
    assert_string_equal(line, "virtio_mmio.device=1");
    assert_string_equal(refused, "http.port=8080");
    assert_string_equal(dropped, "nokaslr");
    seal("model.name=a-long-name-that-is-cut");
    assert_string_equal(line, "");
    assert_string_equal(refused, "model.name=a-lo");
}

static void nothing_hides_in_quotes_of_a_sealed_line(void **state)
{
    (void)state;
    seal("virtio_mmio.device=\"1 kaslr=off\"");
    assert_string_equal(line, "");
    assert_string_equal(refused, "virtio_mmio.dev");
    seal("virtio_mmio.devices=1 xvirtio_mmio.device=1");
    assert_string_equal(line, "");
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
        cmocka_unit_test(a_sealed_line_keeps_the_machine_and_names_the_rest),
        cmocka_unit_test(nothing_hides_in_quotes_of_a_sealed_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
