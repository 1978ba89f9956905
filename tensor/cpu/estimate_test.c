// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The estimate of a token's time scales what was tried, ends in time and disturbs nothing.
//
// Links: @tensor
#include "tensor/estimate.h"
#include "tensor/infer/test_engine.h"

static uint64_t now, tick;
static uint64_t clock_ns(void)
{
    return now += tick;
}

static void the_estimate_disturbs_no_step(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_Q8_0, TN_Q4_0, TN_F16};
    for (int type = 0; type < 4; type++) {
        struct tiny_options o = tiny_default(types[type]);
        struct test_model m;
        struct tn_model_info info;
        test_model_open(&m, &o, 4, 2, 16, TN_F32);
        tn_model_info(m.model, &info);
        float *before = malloc(info.vocabulary * sizeof *before),
              *after = malloc(info.vocabulary * sizeof *after);
        static const int32_t ids[] = {5, 9, 200};
        static const uint32_t pages[] = {0};
        struct tn_step_sequence s = {.tokens = ids,
                                     .token_count = 3,
                                     .kv_pages = pages,
                                     .kv_page_count = 1,
                                     .logits_from = 2,
                                     .logits = before};
        assert_int_equal(tn_step(m.executor, &s, 1), 0);
        uint64_t ns = 0;
        tick = 1000;
        assert_int_equal(tn_estimate_token(m.executor, clock_ns, 1000000, &ns), 0);
        assert_true(ns > 0);
        s.logits = after;
        assert_int_equal(tn_step(m.executor, &s, 1), 0);
        assert_memory_equal(before, after, info.vocabulary * sizeof *before);
        free(before);
        free(after);
        test_model_close(&m);
    }
}

static void a_slower_clock_gives_a_longer_time(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    uint64_t fast, slow;
    test_model_open(&m, &o, 4, 2, 16, TN_F32);
    tick = 1000; // all of the model fits into the budget
    assert_int_equal(tn_estimate_token(m.executor, clock_ns, 1000000000, &fast), 0);
    tick = 3000;
    assert_int_equal(tn_estimate_token(m.executor, clock_ns, 1000000000, &slow), 0);
    assert_in_range(slow, 3 * fast - 9, 3 * fast + 9);
    test_model_close(&m);
}

// However slow the machine is, a few tiles and no more.
static void time_is_bounded(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    uint64_t ns;
    test_model_open(&m, &o, 4, 2, 16, TN_F32);
    tick = 10000000;
    uint64_t begun = now;
    assert_int_equal(tn_estimate_token(m.executor, clock_ns, 1000000, &ns), 0);
    assert_true(now - begun <= 6 * tick);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_disturbs_no_step),
        cmocka_unit_test(a_slower_clock_gives_a_longer_time),
        cmocka_unit_test(time_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
