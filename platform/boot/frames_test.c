// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The boot frame allocator gives out free RAM once, and says truly what is left.
// Links: platform/boot/frames.c
#include "platform/boot/frames.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#define PAGE 4096ull
#define MB   (1ull << 20)

static const struct pf_range map[] = {
    {0, 0x9fc00, PF_RANGE_RAM, 0},
    {0xf0000, 0x10000, PF_RANGE_RESERVED, 0},
    {MB, 16 * PAGE + 100, PF_RANGE_RAM, 0}, // ends within a page
    {2 * MB - PAGE, PAGE, PF_RANGE_RESERVED, 0},
    {2 * MB + 10, 8 * PAGE, PF_RANGE_RAM, 0}, // begins within a page
};

static void frames_avoid_what_is_occupied(void **state)
{
    (void)state;
    struct pf_frames f;
    bool seen[4096];
    memset(seen, 0, sizeof seen);
    pf_frames_init(&f, map, 5, 1ull << 32);
    assert_int_equal(pf_frames_occupy(&f, MB + 8 * PAGE + 5, 10), 0);
    assert_int_equal(pf_frames_occupy(&f, MB, 2 * PAGE), 0);
    assert_int_equal(pf_frames_occupy(&f, MB + 3 * PAGE, PAGE + 1), 0); // two pages
    unsigned count = 0;
    for (uint64_t frame; (frame = pf_frames_take(&f)) != 0; count++) {
        assert_int_equal(frame % PAGE, 0);
        assert_true(frame >= MB);
        assert_false(seen[frame / PAGE]);
        seen[frame / PAGE] = true;
    }
    assert_int_equal(count, 16 - 5 + 7);
    for (uint64_t p = 0; p < 2; p++) {
        assert_false(seen[MB / PAGE + p]);
    }
    assert_false(seen[MB / PAGE + 3] || seen[MB / PAGE + 4] || seen[MB / PAGE + 8]);
    assert_true(seen[MB / PAGE + 15] && seen[2 * MB / PAGE + 1] && seen[2 * MB / PAGE + 7]);
}

static void taken_and_left_make_up_all(void **state)
{
    (void)state;
    struct pf_frames f;
    struct pf_range left[8];
    pf_frames_init(&f, map, 5, 1ull << 32);
    assert_int_equal(pf_frames_occupy(&f, MB + 4 * PAGE, PAGE), 0);
    for (unsigned taken = 0; taken <= 22; taken++) {
        size_t n = pf_frames_left(&f, left, 8);
        uint64_t total = 0;
        for (size_t i = 0; i < n; i++) {
            total += left[i].length / PAGE;
            assert_true(left[i].base >= f.next);
        }
        assert_int_equal(total, 22 - taken);
        uint64_t frame = pf_frames_take(&f);
        assert_int_equal(frame != 0, taken < 22);
    }
}

static void the_limit_holds(void **state)
{
    (void)state;
    struct pf_frames f;
    pf_frames_init(&f, map, 5, MB + 2 * PAGE);
    assert_int_equal(pf_frames_take(&f), MB);
    assert_int_equal(pf_frames_take(&f), MB + PAGE);
    assert_int_equal(pf_frames_take(&f), 0);
    for (unsigned i = 0; i < PF_MAX_MODULES + 1; i++) {
        assert_int_equal(pf_frames_occupy(&f, i * MB, 1), 0);
    }
    assert_int_equal(pf_frames_occupy(&f, 99 * MB, 1), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_avoid_what_is_occupied),
        cmocka_unit_test(taken_and_left_make_up_all),
        cmocka_unit_test(the_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
