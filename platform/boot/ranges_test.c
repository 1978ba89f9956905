// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The memory map comes out sorted, flat and merged; the stricter type wins.
// Links: platform/boot/ranges.c
#include "platform/boot/ranges.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void expect(const struct pf_range *got, uint64_t base, uint64_t length, uint32_t type)
{
    assert_int_equal(got->base, base);
    assert_int_equal(got->length, length);
    assert_int_equal(got->type, type);
}

static void ranges_come_out_sorted_and_merged(void **state)
{
    (void)state;
    struct pf_range r[PF_MAX_RANGES] = {
        {0x3000, 0x1000, PF_RANGE_RAM, 0},
        {0x1000, 0x1000, PF_RANGE_RAM, 0},
        {0x2000, 0x1000, PF_RANGE_RAM, 0},
        {0x9000, 0x1000, PF_RANGE_ACPI, 0},
    };
    assert_int_equal(pf_ranges_normalise(r, 4), 2);
    expect(&r[0], 0x1000, 0x3000, PF_RANGE_RAM);
    expect(&r[1], 0x9000, 0x1000, PF_RANGE_ACPI);
}

static void reserved_beats_ram_where_they_overlap(void **state)
{
    (void)state;
    struct pf_range r[PF_MAX_RANGES] = {
        {0, 0x100000, PF_RANGE_RAM, 0},
        {0x9fc00, 0x400, PF_RANGE_RESERVED, 0},
        {0x20000, 0x1000, 77, 0}, // a type of the future
        {0x20800, 0x100, PF_RANGE_RAM, 0},
    };
    assert_int_equal(pf_ranges_normalise(r, 4), 5);
    expect(&r[0], 0, 0x20000, PF_RANGE_RAM);
    expect(&r[1], 0x20000, 0x1000, 77);
    expect(&r[2], 0x21000, 0x7ec00, PF_RANGE_RAM);
    expect(&r[3], 0x9fc00, 0x400, PF_RANGE_RESERVED);
    expect(&r[4], 0xa0000, 0x60000, PF_RANGE_RAM);
}

static void empty_and_wrapping_ranges_do_no_harm(void **state)
{
    (void)state;
    struct pf_range r[PF_MAX_RANGES] = {
        {0x1000, 0, PF_RANGE_RAM, 0},
        {UINT64_MAX - 0xfff, 0x8000, PF_RANGE_RESERVED, 0},
    };
    assert_int_equal(pf_ranges_normalise(r, 2), 1);
    expect(&r[0], UINT64_MAX - 0xfff, 0xfff, PF_RANGE_RESERVED);
    assert_int_equal(pf_ranges_normalise(r, 0), 0);
}

static void too_many_pieces_are_refused(void **state)
{
    (void)state;
    struct pf_range r[PF_MAX_RANGES];
    r[0] = (struct pf_range){0, 1u << 30, PF_RANGE_RAM, 0};
    for (uint32_t i = 1; i < PF_MAX_RANGES; i++) {
        r[i] = (struct pf_range){i * 0x10000ull, 0x1000, PF_RANGE_RESERVED, 0};
    }
    assert_int_equal(pf_ranges_normalise(r, PF_MAX_RANGES), -ENOSPC);
}

// Against a map painted byte by byte, over random ranges.
static void random_maps_equal_a_painted_one(void **state)
{
    (void)state;
    static const unsigned order[] = {0, 1, 5, 3, 4, 6, 5, 2}; // strength by type
    srand(7);
    for (int round = 0; round < 500; round++) {
        struct pf_range r[PF_MAX_RANGES];
        unsigned char best[256] = {0};
        uint32_t n = (uint32_t)(rand() % 12);
        for (uint32_t i = 0; i < n; i++) {
            r[i] = (struct pf_range){(uint64_t)(rand() % 200), (uint64_t)(rand() % 50),
                                     (uint32_t)(rand() % 5 + 1), 0};
            for (uint64_t k = 0; k < r[i].length; k++) {
                unsigned char *p = &best[r[i].base + k];
                if (*p == 0 || order[r[i].type] > order[*p]) {
                    *p = (unsigned char)r[i].type;
                }
            }
        }
        int count = pf_ranges_normalise(r, n);
        assert_true(count >= 0);
        for (int i = 0; i < count; i++) {
            for (uint64_t k = 0; k < r[i].length; k++) {
                assert_int_equal(best[r[i].base + k], r[i].type);
                best[r[i].base + k] = 0;
            }
            if (i > 0) {
                uint64_t end = r[i - 1].base + r[i - 1].length;
                assert_true(end < r[i].base || (end == r[i].base && r[i - 1].type != r[i].type));
            }
        }
        for (int k = 0; k < 256; k++) {
            assert_int_equal(best[k], 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_come_out_sorted_and_merged),
        cmocka_unit_test(reserved_beats_ram_where_they_overlap),
        cmocka_unit_test(empty_and_wrapping_ranges_do_no_harm),
        cmocka_unit_test(too_many_pieces_are_refused),
        cmocka_unit_test(random_maps_equal_a_painted_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
