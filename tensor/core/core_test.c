// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Elementary functions against libm, the arena, and the pools: every tile once, results seen.
//
// Links: tensor/core/math.c tensor/core/arena.c tensor/core/pool.c tensor/core/pool_host.c
#include "tensor/core/arena.h"
#include "tensor/core/math.h"
#include "tensor/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void functions_are_good_to_fourteen_digits(void **unused)
{
    (void)unused;
    for (int i = -7000; i <= 7000; i++) {
        double x = i * 0.1 + 0.013;
        assert_true(fabs(tn_exp(x) / exp(x) - 1) < 2e-14);
    }
    assert_true(tn_exp(-1e9) == 0);
    assert_true(isinf(tn_exp(1e9)));
    assert_true(isnan(tn_exp(NAN)));
    for (double x = 1e-300; x < 1e300; x *= 1.7) {
        assert_true(fabs(tn_log(x) - log(x)) <= 1e-15 * fabs(log(x)) + 2e-16);
    }
    for (double x = 0.5; x < 2; x += 0.00117) {
        assert_true(fabs(tn_log(x) - log(x)) <= 4e-16);
    }
    for (int i = 0; i < 200; i++) {
        double e = -2.0 * i / 400;
        assert_true(fabs(tn_pow(500000, e) / pow(500000, e) - 1) < 2e-14);
    }
    for (int i = -100000; i < 200000; i++) {
        double x = i * 0.7 + 1e-3 * i, s, c;
        tn_sincos(x, &s, &c);
        assert_true(fabs(s - sin(x)) < 1e-11 && fabs(c - cos(x)) < 1e-11);
    }
}

static void an_arena_measures_what_it_then_gives(void **unused)
{
    (void)unused;
    struct tn_arena measure = {0};
    static const size_t sizes[] = {1, 64, 65, 0, 1000};
    for (int i = 0; i < 5; i++) {
        assert_null(tn_arena_take(&measure, sizes[i]));
    }
    uint8_t *block = aligned_alloc(64, measure.used);
    struct tn_arena a = {.base = block, .size = measure.used};
    for (int i = 0; i < 5; i++) {
        uint8_t *p = tn_arena_take(&a, sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 1, sizes[i]);
    }
    assert_int_equal(a.used, a.size);
    assert_null(tn_arena_take(&a, 1));
    assert_null(tn_arena_take(&a, SIZE_MAX));
    free(block);
}

struct work {
    atomic_uint *hits;
    unsigned *plain; // written without atomics: the pool must order it
    unsigned width;
    unsigned value;
};

static void hit(void *arg, size_t i, unsigned worker)
{
    struct work *w = arg;
    assert_true(worker < w->width);
    atomic_fetch_add(&w->hits[i], 1);
    w->plain[i] += w->value;
}

static void every_tile_runs_once_and_is_seen(struct tn_pool *p)
{
    enum { MOST = 300 };
    static atomic_uint hits[MOST];
    static unsigned plain[MOST];
    for (int i = 0; i < MOST; i++) {
        atomic_store(&hits[i], 0);
        plain[i] = 0;
    }
    struct work w = {hits, plain, p->width, 0};
    for (unsigned round = 0; round < 3000; round++) {
        size_t count = round % MOST;
        unsigned before[MOST];
        memcpy(before, plain, sizeof before);
        w.value = round;
        if (round % 500 == 499) {
            usleep(3000); // long enough for workers to sleep
        }
        p->run(p, hit, &w, count);
        for (size_t i = 0; i < MOST; i++) {
            assert_int_equal(plain[i], before[i] + (i < count ? round : 0));
        }
    }
    for (unsigned i = 0; i < MOST; i++) {
        assert_int_equal(atomic_load(&hits[i]), 3000 / MOST * (MOST - 1 - i));
    }
}

static void pools_run_every_tile_once(void **unused)
{
    (void)unused;
    every_tile_runs_once_and_is_seen(&tn_pool_single);
    for (unsigned width = 1; width <= 4; width++) {
        struct tn_pool *p = tn_pool_threads(width);
        assert_non_null(p);
        assert_int_equal(p->width, width);
        every_tile_runs_once_and_is_seen(p);
        tn_pool_free(p);
    }
    tn_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_good_to_fourteen_digits),
        cmocka_unit_test(an_arena_measures_what_it_then_gives),
        cmocka_unit_test(pools_run_every_tile_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
