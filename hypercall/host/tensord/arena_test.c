// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Buffers never overlap, never leave the arena, and old handles stay old.
//
// Links: hypercall/host/tensord/arena.c
#include "hypercall/host/tensord/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { REGION = 4 << 20, ARENA = REGION - HC_ARENA, PAGE = 4096 };

static void open_arena(struct arena *a)
{
    memset(a, 0, sizeof *a);
    arena_open(a, REGION);
}

static void sizes_at_the_limits(void **unused)
{
    (void)unused;
    struct arena a;
    uint32_t h, i;
    uint64_t at;
    open_arena(&a);
    assert_int_equal(arena_lend(&a, 0, &h, &at), HC_BAD_VALUE);
    assert_int_equal(arena_lend(&a, UINT64_MAX, &h, &at), HC_NO_MEMORY);
    assert_int_equal(arena_lend(&a, UINT64_MAX - PAGE + 2, &h, &at), HC_NO_MEMORY);
    assert_int_equal(arena_lend(&a, ARENA + 1, &h, &at), HC_NO_MEMORY);
    assert_int_equal(arena_lend(&a, ARENA, &h, &at), 0);
    assert_int_equal(at, HC_ARENA);
    assert_int_equal(arena_lend(&a, 1, &i, &at), HC_NO_MEMORY);
    assert_int_equal(arena_return(&a, h), 0);
    assert_int_equal(a.lent, 0);
    assert_int_equal(arena_lend(&a, ARENA - PAGE, &h, &at), 0);
    assert_int_equal(arena_lend(&a, PAGE + 1, &i, &at), HC_NO_MEMORY);
    assert_int_equal(arena_lend(&a, 1, &i, &at), 0); // a whole page all the same
    assert_int_equal(at, REGION - PAGE);
    assert_int_equal(a.lent, ARENA);
}

static void the_lowest_place_that_fits_is_taken(void **unused)
{
    (void)unused;
    struct arena a;
    uint32_t h[6];
    uint64_t at[6], again;
    open_arena(&a);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(arena_lend(&a, (uint64_t)(i + 1) * PAGE, &h[i], &at[i]), 0);
    }
    assert_int_equal(arena_return(&a, h[1]), 0);
    assert_int_equal(arena_return(&a, h[3]), 0);
    assert_int_equal(arena_lend(&a, 3 * PAGE, &h[1], &again), 0);
    assert_int_equal(again, at[3]);
    assert_int_equal(arena_lend(&a, PAGE, &h[3], &again), 0);
    assert_int_equal(again, at[1]);
    assert_int_equal(arena_lend(&a, 7 * PAGE, &h[0], &again), 0);
    assert_int_equal(again, at[5] + 6 * PAGE);
}

static void handles_that_are_not_good(void **unused)
{
    (void)unused;
    struct arena a;
    uint32_t h, i;
    uint64_t at;
    static const uint32_t wrong[] = {0, 1u << 16, HC_MOST_BUFFERS + 1, 0xffff, 0xffffffff, 2};
    open_arena(&a);
    assert_int_equal(arena_lend(&a, 1, &h, &at), 0);
    for (unsigned n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        assert_null(arena_buffer(&a, wrong[n]));
        assert_int_equal(arena_return(&a, wrong[n]), HC_BAD_HANDLE);
    }
    assert_int_equal(arena_return(&a, h), 0);
    assert_int_equal(arena_return(&a, h), HC_BAD_HANDLE);
    assert_int_equal(arena_lend(&a, 1, &i, &at), 0);
    assert_int_not_equal(h, i); // the same place, another use
    assert_null(arena_buffer(&a, h));
    arena_open(&a, REGION); // attached anew
    assert_null(arena_buffer(&a, i));
    assert_int_equal(arena_lend(&a, 1, &h, &at), 0);
    assert_int_not_equal(h, i);
}

static void spans_stay_in_their_buffer(void **unused)
{
    (void)unused;
    struct arena a;
    struct hc_span s = {0};
    uint64_t at, out;
    open_arena(&a);
    assert_int_equal(arena_resolve(&a, &s, 1, 1, &out), HC_BAD_HANDLE);
    assert_int_equal(arena_lend(&a, 2 * PAGE, &s.buffer, &at), 0);
    assert_int_equal(arena_resolve(&a, &s, 2 * PAGE, 64, &out), 0);
    assert_int_equal(out, at);
    assert_int_equal(arena_resolve(&a, &s, 2 * PAGE + 1, 64, &out), HC_BAD_RANGE);
    assert_int_equal(arena_resolve(&a, &s, UINT64_MAX, 1, &out), HC_BAD_RANGE);
    s.offset = 2 * PAGE;
    assert_int_equal(arena_resolve(&a, &s, 0, 1, &out), 0);
    assert_int_equal(arena_resolve(&a, &s, 1, 1, &out), HC_BAD_RANGE);
    s.offset = 2 * PAGE + 1;
    assert_int_equal(arena_resolve(&a, &s, 0, 1, &out), HC_BAD_RANGE);
    s.offset = UINT64_MAX - 7; // offset + bytes wraps
    assert_int_equal(arena_resolve(&a, &s, 16, 8, &out), HC_BAD_RANGE);
    s.offset = 32;
    assert_int_equal(arena_resolve(&a, &s, 1, 64, &out), HC_BAD_RANGE);
    assert_int_equal(arena_resolve(&a, &s, 1, 32, &out), 0);
    s.zero = 1;
    assert_int_equal(arena_resolve(&a, &s, 1, 32, &out), HC_BAD_HANDLE);
}

// At random, against a map of pages.
static void lending_and_returning_at_random(void **unused)
{
    (void)unused;
    enum { PAGES = ARENA / PAGE, ROUNDS = 20000 };
    struct arena a;
    static uint16_t owner[PAGES]; // 0: free
    struct held {
        uint32_t handle;
        uint64_t at, pages;
    } held[HC_MOST_BUFFERS];
    uint32_t count = 0, x = 1, full = 0;
    uint64_t lent = 0;
    open_arena(&a);
    memset(owner, 0, sizeof owner);
    for (int round = 0; round < ROUNDS; round++) {
        x = x * 1664525 + 1013904223;
        if (x >> 31 && count) {
            uint32_t i = (x >> 8) % count;
            assert_int_equal(arena_return(&a, held[i].handle), 0);
            for (uint64_t p = 0; p < held[i].pages; p++) {
                owner[(held[i].at - HC_ARENA) / PAGE + p] = 0;
            }
            lent -= held[i].pages;
            held[i] = held[--count];
        } else {
            struct held h = {.pages = 1 + (x >> 8) % 12};
            int status = arena_lend(&a, h.pages * PAGE - (x & 1023), &h.handle, &h.at);
            if (status) {
                assert_int_equal(status, HC_NO_MEMORY);
                full++;
                uint64_t run = 0; // right: there is no such hole, or no handle
                for (int p = 0; p < PAGES && count < HC_MOST_BUFFERS; p++) {
                    run = owner[p] ? 0 : run + 1;
                    assert_true(run < h.pages);
                }
                continue;
            }
            for (uint64_t p = 0; p < h.pages; p++) {
                uint16_t *o = &owner[(h.at - HC_ARENA) / PAGE + p];
                assert_int_equal(*o, 0);
                *o = 1;
            }
            lent += h.pages;
            held[count++] = h;
        }
        assert_int_equal(a.count, count);
        assert_int_equal(a.lent, lent * PAGE);
    }
    assert_true(full > 10);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(sizes_at_the_limits),
        cmocka_unit_test(the_lowest_place_that_fits_is_taken),
        cmocka_unit_test(handles_that_are_not_good),
        cmocka_unit_test(spans_stay_in_their_buffer),
        cmocka_unit_test(lending_and_returning_at_random),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
