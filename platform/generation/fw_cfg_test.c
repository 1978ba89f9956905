// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The configuration device's directory: files are found by their whole name, damage finds nothing.
// Links: platform/generation/fw_cfg.c
#include "platform/generation/fw_cfg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint8_t directory[4 + 3 * FW_CFG_ENTRY_BYTES];

static void put(unsigned i, const char *name, uint16_t selector, uint32_t bytes)
{
    uint8_t *e = directory + 4 + i * FW_CFG_ENTRY_BYTES;
    e[0] = (uint8_t)(bytes >> 24);
    e[1] = (uint8_t)(bytes >> 16);
    e[2] = (uint8_t)(bytes >> 8);
    e[3] = (uint8_t)bytes;
    e[4] = (uint8_t)(selector >> 8);
    e[5] = (uint8_t)selector;
    size_t length = strlen(name);
    memcpy(e + 8, name, length < FW_CFG_NAME_BYTES ? length : FW_CFG_NAME_BYTES);
}

static int fill(void **state)
{
    (void)state;
    memset(directory, 0, sizeof directory);
    directory[3] = 3;
    put(0, "etc/e820", 0x20, 40);
    put(1, "opt/org.tessera/generation", 0x2a, 37);
    put(2, "opt/org.tessera/generations", 0x2b, 0x01020304);
    return 0;
}

static void a_file_is_found_by_its_whole_name(void **state)
{
    (void)state;
    uint16_t selector = 0;
    uint32_t bytes = 0;
    assert_true(
        fw_cfg_find(directory, sizeof directory, "opt/org.tessera/generation", &selector, &bytes));
    assert_int_equal(selector, 0x2a);
    assert_int_equal(bytes, 37);
    assert_true(
        fw_cfg_find(directory, sizeof directory, "opt/org.tessera/generations", &selector, &bytes));
    assert_int_equal(selector, 0x2b);
    assert_int_equal(bytes, 0x01020304);
    assert_false(fw_cfg_find(directory, sizeof directory, "opt/org.tessera", &selector, &bytes));
    assert_false(fw_cfg_find(directory, sizeof directory, "", &selector, &bytes));
}

static void what_lies_past_the_count_or_the_end_is_not_found(void **state)
{
    (void)state;
    uint16_t selector;
    uint32_t bytes;
    directory[3] = 1;
    assert_false(
        fw_cfg_find(directory, sizeof directory, "opt/org.tessera/generation", &selector, &bytes));
    memset(directory, 0xff, 4); // more entries than there can be
    assert_false(fw_cfg_find(directory, sizeof directory, "none", &selector, &bytes));
    assert_false(fw_cfg_find(directory, sizeof directory - 1, "opt/org.tessera/generations",
                             &selector,
                             &bytes)); // half of its entry
    for (size_t n = 0; n < 4 + FW_CFG_ENTRY_BYTES; n++) {
        assert_false(fw_cfg_find(directory, n, "etc/e820", &selector, &bytes));
    }
}

static void a_name_without_an_end_is_bounded(void **state)
{
    (void)state;
    uint16_t selector;
    uint32_t bytes;
    char longest[80];
    memset(longest, 'a', sizeof longest);
    longest[79] = 0;
    put(0, longest, 1, 1);
    assert_false(fw_cfg_find(directory, sizeof directory, longest, &selector, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_file_is_found_by_its_whole_name, fill),
        cmocka_unit_test_setup(what_lies_past_the_count_or_the_end_is_not_found, fill),
        cmocka_unit_test_setup(a_name_without_an_end_is_bounded, fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
