// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sampling: each filter keeps what it should, draws follow the probabilities, seeds repeat.
//
// Links: tensor/infer/sample.c tensor/infer/random.c tensor/core/math.c
#include "tensor/infer/infer_private.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 50, DRAWS = 40000 };

static struct tn_sampling plain(float temperature)
{
    struct tn_sampling s = tn_sampling_default();
    s.temperature = temperature;
    s.top_k = 0;
    s.top_p = 1;
    s.min_p = 0;
    return s;
}

static void some_logits(float *l)
{
    for (int i = 0; i < N; i++) {
        l[i] = (float)((i * 37) % N) * 0.11f - 2;
    }
}

static void count_draws(const float *logits, const struct tn_sampling *s, unsigned *counts)
{
    struct tn_rng rng;
    tn_rng_seed(&rng, 42);
    memset(counts, 0, N * sizeof *counts);
    for (int i = 0; i < DRAWS; i++) {
        float scratch[N];
        memcpy(scratch, logits, sizeof scratch);
        int32_t id = tn_sample(scratch, N, s, &rng, NULL, 0);
        assert_in_range(id, 0, N - 1);
        counts[id]++;
    }
}

// Compares counts with the distribution of the ids that `kept` admits at the temperature.
static void check(const float *logits, const struct tn_sampling *s, const bool *kept)
{
    unsigned counts[N];
    count_draws(logits, s, counts);
    double p[N], total = 0, chi = 0;
    int degrees = -1;
    for (int i = 0; i < N; i++) {
        p[i] = kept[i] ? exp((double)logits[i] / (double)s->temperature) : 0;
        total += p[i];
    }
    for (int i = 0; i < N; i++) {
        double expected = p[i] / total * DRAWS;
        if (!kept[i]) {
            assert_int_equal(counts[i], 0);
        } else if (expected > 5) {
            chi += (counts[i] - expected) * (counts[i] - expected) / expected;
            degrees++;
        }
    }
    assert_true(chi < degrees + 5 * sqrt(2.0 * degrees + 1));
}

static void draws_follow_the_softmax(void **unused)
{
    (void)unused;
    float l[N];
    bool all[N];
    some_logits(l);
    memset(all, true, sizeof all);
    struct tn_sampling s = plain(1);
    check(l, &s, all);
    s = plain(0.5f);
    check(l, &s, all);
    s = plain(2);
    s.top_k = N; // the sorted path
    check(l, &s, all);
}

static int rank_of(const float *l, int id)
{
    int rank = 0;
    for (int i = 0; i < N; i++) {
        rank += l[i] > l[id] || (l[i] == l[id] && i < id);
    }
    return rank;
}

static void top_k_keeps_the_k_best(void **unused)
{
    (void)unused;
    float l[N];
    bool kept[N];
    some_logits(l);
    for (int i = 0; i < N; i++) {
        kept[i] = rank_of(l, i) < 7;
    }
    struct tn_sampling s = plain(0.7f);
    s.top_k = 7;
    check(l, &s, kept);
}

static void top_p_keeps_the_smallest_set_that_holds_p(void **unused)
{
    (void)unused;
    float l[N];
    bool kept[N];
    some_logits(l);
    double total = 0;
    for (int i = 0; i < N; i++) {
        total += exp((double)l[i]);
    }
    for (int i = 0; i < N; i++) {
        double better = 0;
        for (int j = 0; j < N; j++) {
            better += rank_of(l, j) < rank_of(l, i) ? exp((double)l[j]) : 0;
        }
        kept[i] = better < 0.6 * total;
    }
    struct tn_sampling s = plain(1);
    s.top_p = 0.6f;
    check(l, &s, kept); // by threshold
    s.top_k = N;
    check(l, &s, kept); // sorted
}

static void min_p_drops_what_is_far_below_the_best(void **unused)
{
    (void)unused;
    float l[N];
    bool kept[N];
    some_logits(l);
    float best = -100;
    for (int i = 0; i < N; i++) {
        best = l[i] > best ? l[i] : best;
    }
    for (int i = 0; i < N; i++) {
        kept[i] = exp((double)(l[i] - best)) >= 0.25;
    }
    struct tn_sampling s = plain(1.5f);
    s.min_p = 0.25f;
    check(l, &s, kept);
    s.top_k = N;
    check(l, &s, kept);
}

static void temperature_zero_takes_the_first_of_the_best(void **unused)
{
    (void)unused;
    float l[4] = {1, 3, 3, 2};
    struct tn_sampling s = plain(0);
    struct tn_rng rng = {0};
    assert_int_equal(tn_sample(l, 4, &s, &rng, NULL, 0), 1);
}

static void what_is_not_a_number_is_never_taken(void **unused)
{
    (void)unused;
    float nan = __builtin_nanf("");
    for (int way = 0; way < 3; way++) {
        struct tn_sampling s = plain(way == 0 ? 0 : 1);
        s.top_k = way == 2 ? 3 : 0;
        struct tn_rng rng;
        tn_rng_seed(&rng, 1);
        for (int i = 0; i < 50; i++) {
            float l[4] = {nan, 1, nan, 2}, none[4] = {nan, nan, nan, nan};
            int32_t id = tn_sample(l, 4, &s, &rng, NULL, 0);
            assert_true(id == 1 || id == 3);
            assert_in_range(tn_sample(none, 4, &s, &rng, NULL, 0), 0, 3);
        }
    }
}

static void an_infinite_logit_is_taken_so_that_it_is_seen(void **unused)
{
    (void)unused;
    struct tn_rng rng;
    tn_rng_seed(&rng, 1);
    for (uint32_t k = 0; k <= 3; k += 3) {
        struct tn_sampling s = plain(1);
        s.top_k = k;
        s.top_p = 0.9f;
        for (int i = 0; i < 20; i++) {
            float l[4] = {1, __builtin_inff(), 2, 3};
            assert_int_equal(tn_sample(l, 4, &s, &rng, NULL, 0), 1);
        }
    }
}

static void penalties_change_the_logits_of_recent_tokens(void **unused)
{
    (void)unused;
    float l[4] = {2, -2, 1, 0.9f};
    int32_t recent[5] = {3, 0, 0, 1, 900};
    struct tn_sampling s = plain(0);
    struct tn_rng rng = {0};
    s.repeat_penalty = 2;
    s.presence_penalty = 0.25f;
    s.frequency_penalty = 0.5f;
    s.repeat_last = 4; // the 3 is too long ago
    assert_int_equal(tn_sample(l, 4, &s, &rng, recent, 5), 2);
    assert_float_equal(l[0], 1 - 2 * 0.5 - 0.25, 1e-6);
    assert_float_equal(l[1], -4 - 0.5 - 0.25, 1e-6);
    assert_float_equal(l[2], 1, 0);
    assert_float_equal(l[3], 0.9, 1e-6);
}

static void a_seed_gives_the_same_draws_again(void **unused)
{
    (void)unused;
    float l[N];
    struct tn_sampling s = tn_sampling_default();
    struct tn_rng a, b, c;
    tn_rng_seed(&a, 7);
    tn_rng_seed(&b, 7);
    tn_rng_seed(&c, 8);
    int differ = 0;
    for (int i = 0; i < 200; i++) {
        some_logits(l);
        int32_t x = tn_sample(l, N, &s, &a, NULL, 0);
        some_logits(l);
        assert_int_equal(tn_sample(l, N, &s, &b, NULL, 0), x);
        some_logits(l);
        differ += tn_sample(l, N, &s, &c, NULL, 0) != x;
    }
    assert_true(differ > 50);
}

static void a_sequence_goes_on_elsewhere_with_the_same_draws(void **unused)
{
    (void)unused;
    struct tn_rng a, b;
    tn_rng_seed(&a, 99);
    for (int i = 0; i < 10; i++) {
        (void)tn_rng_unit(&a);
    }
    assert_int_equal(a.counter, 10);
    b = (struct tn_rng){.seed = 99, .counter = 10};
    double next = tn_rng_unit(&a);
    assert_true(next == tn_rng_unit(&b) && next >= 0 && next < 1);
}

static void rules_forbid_and_favour(void **unused)
{
    (void)unused;
    float l[11] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const uint8_t mask[2] = {0x0f, 0x01}; // 0 to 3, 8
    const struct tn_logit_bias biases[] = {{2, 100}, {8, -100}, {11, 5}, {-1, 5}};
    tn_apply_rules(l, 11, &(struct tn_logit_rules){mask, biases, 4});
    struct tn_sampling s = plain(0);
    struct tn_rng rng = {0};
    assert_true(isinf(l[4]) && isinf(l[9]) && isinf(l[10]) && l[8] == -92 && l[2] == 102);
    assert_int_equal(tn_sample(l, 11, &s, &rng, NULL, 0), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(top_k_keeps_the_k_best),
        cmocka_unit_test(top_p_keeps_the_smallest_set_that_holds_p),
        cmocka_unit_test(min_p_drops_what_is_far_below_the_best),
        cmocka_unit_test(temperature_zero_takes_the_first_of_the_best),
        cmocka_unit_test(what_is_not_a_number_is_never_taken),
        cmocka_unit_test(an_infinite_logit_is_taken_so_that_it_is_seen),
        cmocka_unit_test(penalties_change_the_logits_of_recent_tokens),
        cmocka_unit_test(a_seed_gives_the_same_draws_again),
        cmocka_unit_test(a_sequence_goes_on_elsewhere_with_the_same_draws),
        cmocka_unit_test(rules_forbid_and_favour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
