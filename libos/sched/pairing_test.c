// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The timer heap against a plain array.
// Links: libos/sched/pairing.c
#include "libos/sched/pairing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT 300

static void the_earliest_is_always_the_root(void **state)
{
    (void)state;
    static struct sched_timer t[COUNT];
    static bool in[COUNT];
    struct sched_timer *root = NULL;
    srand(11);
    for (int step = 0; step < 60000; step++) {
        int i = rand() % COUNT;
        if (in[i]) {
            if (rand() % 3 == 0) { // the root, as when it expires
                i = (int)(root - t);
            }
            root = pairing_remove(root, &t[i]);
            in[i] = false;
        } else {
            t[i].deadline_ns = (uint64_t)(rand() % 1000);
            root = pairing_insert(root, &t[i]);
            in[i] = true;
        }
        if (step % 16 == 0) {
            uint64_t best = UINT64_MAX;
            for (int k = 0; k < COUNT; k++) {
                if (in[k] && t[k].deadline_ns < best) {
                    best = t[k].deadline_ns;
                }
            }
            assert_int_equal(root ? root->deadline_ns : UINT64_MAX, best);
        }
    }
    uint64_t last = 0;
    while (root) {
        assert_true(root->deadline_ns >= last);
        last = root->deadline_ns;
        in[root - t] = false;
        root = pairing_remove(root, root);
    }
    for (int k = 0; k < COUNT; k++) {
        assert_false(in[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_earliest_is_always_the_root)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
