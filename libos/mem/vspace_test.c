// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Address ranges against a model of one byte a page.
// Links: libos/mem/vspace.c
#include "libos/mem/vspace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BASE  0x100000ul
#define PAGES 512u

static void *kept[4096];
static size_t kept_count;
static void *record(size_t bytes)
{
    kept[kept_count] = malloc(bytes);
    return kept[kept_count++];
}

static void ranges_never_overlap_and_join_again(void **state)
{
    (void)state;
    struct vspace v;
    assert_int_equal(vspace_init(&v, BASE, BASE + PAGES * 4096, record), 0);
    static uint8_t taken[PAGES];
    struct {
        uint64_t base, pages;
    } r[64] = {0};
    srand(5);
    for (int step = 0; step < 50000; step++) {
        int i = rand() % 64;
        if (r[i].pages) {
            // half at a time, as munmap does
            uint64_t half = r[i].pages / 2;
            if (half) {
                assert_int_equal(vspace_free(&v, r[i].base, half * 4096), 0);
                assert_int_not_equal(vspace_free(&v, r[i].base, 4096), 0);
            }
            assert_int_equal(vspace_free(&v, r[i].base + half * 4096, (r[i].pages - half) * 4096),
                             0);
            memset(&taken[(r[i].base - BASE) / 4096], 0, r[i].pages);
            r[i].pages = 0;
        } else {
            uint64_t pages = (uint64_t)(rand() % 20) + 1, align = 4096ul << rand() % 4;
            uint64_t at = vspace_alloc(&v, pages * 4096, align);
            if (at) {
                assert_int_equal(at % align, 0);
                assert_true(vspace_taken(&v, at, pages * 4096));
                for (uint64_t k = 0; k < pages; k++) {
                    assert_int_equal(taken[(at - BASE) / 4096 + k]++, 0);
                }
                r[i].base = at;
                r[i].pages = pages;
            }
        }
    }
    for (int i = 0; i < 64; i++) {
        if (r[i].pages) {
            assert_int_equal(vspace_free(&v, r[i].base, r[i].pages * 4096), 0);
        }
    }
    assert_int_equal(vspace_alloc(&v, PAGES * 4096, 4096), BASE);
    assert_int_equal(vspace_alloc(&v, 4096, 4096), 0);
    for (size_t i = 0; i < kept_count; i++) {
        free(kept[i]);
    }
}

static void frees_outside_are_refused(void **state)
{
    (void)state;
    struct vspace v;
    kept_count = 0;
    vspace_init(&v, BASE, BASE + PAGES * 4096, record);
    assert_int_not_equal(vspace_free(&v, BASE, 4096), 0);
    assert_int_not_equal(vspace_free(&v, 0, 4096), 0);
    assert_int_not_equal(vspace_free(&v, BASE, UINT64_MAX), 0);
    assert_false(vspace_taken(&v, BASE, 4096));
    free(kept[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_never_overlap_and_join_again),
        cmocka_unit_test(frees_outside_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
