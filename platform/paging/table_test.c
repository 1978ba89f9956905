// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Page tables in a fake physical memory: what is mapped is found, with the right page sizes and
// rights, splits keep the rest, and failure changes nothing.
// Links: platform/paging/table.c
#include "platform/paging/table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGE   4096ull
#define MB2    (2ull << 20)
#define GB     (1ull << 30)
#define FRAMES 64u
#define RW     (PTE_PRESENT | PTE_WRITE | PTE_NX)

static unsigned char memory[FRAMES][4096] __attribute__((aligned(4096)));
static unsigned used, allowed;

static uint64_t take(struct pf_table *t)
{
    if (used == allowed) {
        return 0;
    }
    memset(memory[used], 0, sizeof memory[0]);
    return (uint64_t)(uintptr_t)memory[used++] - t->offset;
}

static struct pf_table fresh(bool page1g)
{
    struct pf_table t = {.take = take, .page1g = page1g, .nx = true};
    used = 0;
    allowed = FRAMES;
    t.offset = (uint64_t)(uintptr_t)memory - 0x100000; // frame 0 is physical 1 MB
    t.root = take(&t);
    return t;
}

static void a_mapping_is_found_and_ends_where_it_should(void **state)
{
    (void)state;
    struct pf_table t = fresh(false);
    uint64_t v = 0xffff880000000000ull;
    assert_int_equal(pf_table_map(&t, v + PAGE, 0x5000, 3 * PAGE, RW), 0);
    assert_int_equal(pf_table_phys(&t, v + PAGE + 5), 0x5005);
    assert_int_equal(pf_table_phys(&t, v + 4 * PAGE - 1), 0x7fff);
    assert_true(pf_table_phys(&t, v + PAGE - 1) == UINT64_MAX);
    assert_true(pf_table_phys(&t, v + 4 * PAGE) == UINT64_MAX);
}

static void the_largest_pages_that_fit_are_used(void **state)
{
    (void)state;
    uint64_t span;
    struct pf_table t = fresh(true);
    assert_int_equal(pf_table_map(&t, GB - MB2 - PAGE, GB - MB2 - PAGE, 2 * GB, RW), 0);
    pf_table_lookup(&t, GB - MB2 - 1, &span);
    assert_int_equal(span, PAGE);
    pf_table_lookup(&t, GB - 1, &span);
    assert_int_equal(span, MB2);
    pf_table_lookup(&t, GB, &span);
    assert_int_equal(span, GB);
    assert_int_equal(pf_table_phys(&t, GB + 12345678), GB + 12345678);
    assert_int_equal(used, 6); // PML4, PDPT, two PDs and two PTs
    t = fresh(false);
    assert_int_equal(pf_table_map(&t, 0, PAGE, 2 * MB2, RW), 0); // offsets differ: small pages
    pf_table_lookup(&t, MB2, &span);
    assert_int_equal(span, PAGE);
}

static void what_exists_is_not_mapped_over(void **state)
{
    (void)state;
    struct pf_table t = fresh(true);
    assert_int_equal(pf_table_map(&t, 8 * PAGE, 0, PAGE, RW), 0);
    assert_int_equal(pf_table_map(&t, 0, MB2, MB2, RW), -EEXIST);
    assert_int_equal(pf_table_map(&t, 4 * PAGE, MB2, 8 * PAGE, RW), -EEXIST);
    assert_true(pf_table_phys(&t, 4 * PAGE) == UINT64_MAX);
    assert_int_equal(pf_table_phys(&t, 8 * PAGE), 0);
    assert_int_equal(pf_table_map(&t, GB, GB, GB, RW), 0);
    assert_int_equal(pf_table_map(&t, GB + 5 * PAGE, 0, PAGE, RW), -EEXIST);
}

static void unmapping_part_of_a_large_page_keeps_the_rest(void **state)
{
    (void)state;
    uint64_t span;
    struct pf_table t = fresh(true);
    assert_int_equal(pf_table_map(&t, GB, 4 * GB, GB, RW | PTE_PWT), 0);
    assert_int_equal(pf_table_unmap(&t, GB + MB2 + PAGE, 2 * PAGE), 0);
    assert_int_equal(pf_table_phys(&t, GB + MB2), 4 * GB + MB2);
    assert_true(pf_table_phys(&t, GB + MB2 + PAGE) == UINT64_MAX);
    assert_true(pf_table_phys(&t, GB + MB2 + 3 * PAGE - 1) == UINT64_MAX);
    assert_int_equal(pf_table_phys(&t, GB + MB2 + 3 * PAGE), 4 * GB + MB2 + 3 * PAGE);
    assert_int_equal(pf_table_phys(&t, 2 * GB - 1), 5 * GB - 1);
    uint64_t entry = pf_table_lookup(&t, GB + MB2, &span);
    assert_int_equal(span, PAGE);
    assert_true((entry & PTE_NX) != 0 && (entry & PTE_PWT) != 0 && (entry & PTE_LARGE) == 0);
    entry = pf_table_lookup(&t, GB, &span);
    assert_int_equal(span, MB2);
    assert_true((entry & PTE_LARGE) != 0);
    // The hole can be filled again, and the whole taken away.
    assert_int_equal(pf_table_map(&t, GB + MB2 + PAGE, 0, 2 * PAGE, RW), 0);
    assert_int_equal(pf_table_unmap(&t, GB, GB), 0);
    assert_true(pf_table_phys(&t, GB + 3 * MB2) == UINT64_MAX);
    assert_int_equal(pf_table_map(&t, GB, 0, GB, RW), 0);
    assert_int_equal(pf_table_phys(&t, GB + 123), 123);
}

static void protection_changes_rights_and_keeps_frames(void **state)
{
    (void)state;
    uint64_t span;
    struct pf_table t = fresh(false);
    assert_int_equal(pf_table_map(&t, MB2, MB2, 2 * MB2, RW | PTE_PCD), 0);
    assert_int_equal(pf_table_protect(&t, MB2 + PAGE, PAGE, PTE_PRESENT), 0);
    uint64_t entry = pf_table_lookup(&t, MB2 + PAGE, &span);
    assert_int_equal(entry & (PTE_PRESENT | PTE_WRITE | PTE_NX | PTE_PCD), PTE_PRESENT | PTE_PCD);
    entry = pf_table_lookup(&t, MB2 + 2 * PAGE, &span);
    assert_int_equal(entry & (PTE_WRITE | PTE_NX), PTE_WRITE | PTE_NX);
    entry = pf_table_lookup(&t, 2 * MB2, &span);
    assert_int_equal(span, MB2);

    assert_int_equal(pf_table_protect(&t, MB2 + PAGE, PAGE, 0), 0); // held
    entry = pf_table_lookup(&t, MB2 + PAGE, &span);
    assert_int_equal(entry & PTE_PRESENT, 0);
    assert_int_equal(pf_table_phys(&t, MB2 + PAGE), MB2 + PAGE);
    assert_int_equal(pf_table_map(&t, MB2 + PAGE, 0, PAGE, RW), -EEXIST);
    assert_int_equal(pf_table_protect(&t, MB2, 2 * MB2, RW), 0);
    entry = pf_table_lookup(&t, MB2 + PAGE, &span);
    assert_int_equal(entry & (PTE_PRESENT | PTE_HELD), PTE_PRESENT);
}

static void without_nx_the_bit_is_never_set(void **state)
{
    (void)state;
    uint64_t span;
    struct pf_table t = fresh(false);
    t.nx = false;
    assert_int_equal(pf_table_map(&t, 0, 0, PAGE, RW), 0);
    assert_int_equal(pf_table_lookup(&t, 0, &span) & PTE_NX, 0);
    assert_int_equal(pf_table_protect(&t, 0, PAGE, RW), 0);
    assert_int_equal(pf_table_lookup(&t, 0, &span) & PTE_NX, 0);
}

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    struct pf_table t = fresh(false);
    assert_int_equal(pf_table_map(&t, 1, 0, PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0, 1, PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0, 0, 0, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0, 0, 100, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0, 1ull << 52, PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0x0000800000000000ull, 0, PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0x00007ffffffff000ull, 0, 2 * PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0xfffffffffffff000ull, 0, 2 * PAGE, RW), -EINVAL);
    assert_int_equal(pf_table_unmap(&t, 0, 0), -EINVAL);
    assert_int_equal(pf_table_map(&t, 0xfffffffffffff000ull, 0, PAGE, RW), 0);
    assert_int_equal(pf_table_unmap(&t, 0xfffffffffffff000ull, PAGE), 0);
}

static void running_out_of_frames_leaves_nothing_behind(void **state)
{
    (void)state;
    struct pf_table t = fresh(false);
    allowed = 4; // PML4, PDPT, PD, one PT
    assert_int_equal(pf_table_map(&t, MB2 - PAGE, 0, 2 * PAGE, RW), -ENOMEM);
    assert_true(pf_table_phys(&t, MB2 - PAGE) == UINT64_MAX);
    allowed = FRAMES;
    assert_int_equal(pf_table_map(&t, MB2 - PAGE, 0, 2 * PAGE, RW), 0);
}

// Random operations against a table of what each page should be.
static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    enum { PAGES = 2048 };
    static uint64_t model[PAGES]; // 0 none, else phys | present
    struct pf_table t = fresh(false);
    memset(model, 0, sizeof model);
    srand(11);
    for (int round = 0; round < 20000; round++) {
        unsigned first = (unsigned)rand() % PAGES;
        unsigned count = rand() % 4 == 0 ? 512u : 1u + (unsigned)rand() % 40u;
        if (rand() % 3 == 0) {
            first &= ~511u;
        }
        if (first + count > PAGES) {
            count = PAGES - first;
        }
        int kind = rand() % 3;
        if (kind == 0) {
            uint64_t phys = (unsigned)(rand() % 8) * MB2 + first * PAGE;
            bool busy = false;
            for (unsigned i = 0; i < count; i++) {
                busy |= model[first + i] != 0;
            }
            assert_int_equal(pf_table_map(&t, first * PAGE, phys, count * PAGE, RW),
                             busy ? -EEXIST : 0);
            for (unsigned i = 0; i < count && !busy; i++) {
                model[first + i] = (phys + i * PAGE) | 1;
            }
        } else if (kind == 1) {
            assert_int_equal(pf_table_unmap(&t, first * PAGE, count * PAGE), 0);
            memset(&model[first], 0, count * sizeof model[0]);
        } else {
            bool on = rand() % 2 == 0;
            assert_int_equal(pf_table_protect(&t, first * PAGE, count * PAGE, on ? RW : 0), 0);
            for (unsigned i = 0; i < count; i++) {
                if (model[first + i] != 0) {
                    model[first + i] = (model[first + i] & ~1ull) | 2 | (on ? 1 : 0);
                }
            }
        }
        for (int probes = 0; probes < 16; probes++) {
            unsigned p = (unsigned)rand() % PAGES;
            uint64_t span, entry = pf_table_lookup(&t, p * PAGE, &span);
            if (model[p] == 0) {
                assert_int_equal(entry, 0);
            } else {
                assert_int_equal(pf_table_phys(&t, p * PAGE), model[p] & ~4095ull);
                assert_int_equal(entry & PTE_PRESENT, model[p] & 1);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapping_is_found_and_ends_where_it_should),
        cmocka_unit_test(the_largest_pages_that_fit_are_used),
        cmocka_unit_test(what_exists_is_not_mapped_over),
        cmocka_unit_test(unmapping_part_of_a_large_page_keeps_the_rest),
        cmocka_unit_test(protection_changes_rights_and_keeps_frames),
        cmocka_unit_test(without_nx_the_bit_is_never_set),
        cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(running_out_of_frames_leaves_nothing_behind),
        cmocka_unit_test(random_operations_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
