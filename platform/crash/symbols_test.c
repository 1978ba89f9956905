// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Function lookup in the table of crash/symbols.h, sound and damaged.
// Links: platform/crash/symbols.c
#include "platform/crash/symbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#pragma pack(push, 1)
static const struct {
    uint32_t count, offsets[4];
    char names[20];
} table = {4, {0x100, 0x180, 0x200, 0x300}, "first\0second\0third\0"};
#pragma pack(pop)

static void expect(uint64_t at, const char *name, uint64_t into)
{
    uint64_t got = 0;
    const char *found = pf_symbols_find(&table, sizeof table, at, &got);
    if (name == NULL) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    assert_string_equal(found, name);
    assert_int_equal(got, into);
}

static void addresses_find_their_function(void **state)
{
    (void)state;
    expect(0x100, "first", 0);
    expect(0x17f, "first", 0x7f);
    expect(0x180, "second", 0);
    expect(0x2ff, "third", 0xff);
}

static void addresses_outside_find_none(void **state)
{
    (void)state;
    expect(0, NULL, 0);
    expect(0xff, NULL, 0);
    expect(0x300, NULL, 0);
    expect(UINT64_MAX, NULL, 0);
}

// Every prefix and every flipped byte: an answer or NULL, and no read outside (the sanitizer says).
static void check_inside(const unsigned char *copy, size_t bytes)
{
    uint64_t into;
    const char *name = pf_symbols_find(copy, bytes, 0x250, &into);
    if (name != NULL) {
        assert_true(name >= (const char *)copy && name < (const char *)copy + bytes);
        assert_non_null(memchr(name, '\0', (size_t)((const char *)copy + bytes - name)));
    }
}

static void a_damaged_table_is_survived(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= sizeof table; cut++) {
        unsigned char *copy = malloc(cut == 0 ? 1 : cut);
        memcpy(copy, &table, cut);
        check_inside(copy, cut);
        for (size_t i = 0; i < cut; i++) {
            copy[i] ^= 0xff;
            check_inside(copy, cut);
            copy[i] ^= 0xff;
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_find_their_function),
        cmocka_unit_test(addresses_outside_find_none),
        cmocka_unit_test(a_damaged_table_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
