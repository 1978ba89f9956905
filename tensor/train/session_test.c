// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Training sessions: they learn, a seed fixes every bit whatever the number of workers, parameters
// go out and in, and what is impossible is refused by name.
//
// Links: tensor/train/session.c tensor/train/trainer.c tensor/train/data.c
// Links: tensor/train/vocab.c tensor/train/vocab_learn.c tensor/train/string_map.c
// Links: tensor/core/pool_host.c tensor/train/net.c tensor/train/ops.c
// Links: tensor/train/gemm.c tensor/cpu/gemm.c tensor/cpu/gemm_scalar.c tensor/cpu/gemm_avx2.c
// Links: tensor/cpu/gemm_avx512.c tensor/cpu/gemm8_scalar.c tensor/cpu/gemm8_avx2.c
// Links: tensor/cpu/gemm8_avx512vnni.c tensor/core/pool.c
#include "tensor/train.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct tn_train_options usual = {.vocabulary = 50,
                                              .width = 32,
                                              .layers = 2,
                                              .heads = 4,
                                              .kv_heads = 2,
                                              .feed_forward = 48,
                                              .context = 16,
                                              .tied = true,
                                              .rope_base = 10000,
                                              .epsilon = 1e-5f,
                                              .seed = 7,
                                              .shards = 3,
                                              .shard_tokens = 24,
                                              .rate = 0.01f,
                                              .decay = 0.1f,
                                              .clip = 1,
                                              .warmup = 3,
                                              .memory_most = 16 << 20};
enum { TOKENS = 16 + 9 + 16 + 1 + 5 };
static const uint32_t lengths[] = {16, 9, 16, 1, 5};
static int32_t tokens[TOKENS];
static const struct tn_train_batch usual_batch = {
    .tokens = tokens, .lengths = lengths, .token_count = TOKENS, .sequence_count = 5};
static char error[200];

static int make_tokens(void **state)
{
    (void)state;
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = i * i * 7 % 50;
    }
    return 0;
}

static struct tn_train *open_session(const struct tn_train_options *o, struct tn_pool *pool)
{
    struct tn_train *t = NULL;
    if (tn_train_open(o, pool, &t, error, sizeof error)) {
        fail_msg("%s", error);
    }
    return t;
}

static struct tn_train_report step(struct tn_train *t, const struct tn_train_batch *batch)
{
    struct tn_train_report report;
    if (tn_train_step(t, batch, &report, error, sizeof error)) {
        fail_msg("%s", error);
    }
    return report;
}

static float *parameters_of(const struct tn_train *t)
{
    uint64_t n = tn_train_parameters(t);
    float *p = malloc(n * sizeof *p);
    assert_int_equal(tn_train_read(t, 0, n, p), 0);
    return p;
}

static void the_loss_of_a_batch_falls(void **state)
{
    (void)state;
    struct tn_train *t = open_session(&usual, &tn_pool_single);
    double first = 0, last = 0, evaluated;
    for (uint32_t i = 0; i < 30; i++) {
        assert_int_equal(tn_train_evaluate(t, &usual_batch, &evaluated, error, sizeof error), 0);
        struct tn_train_report r = step(t, &usual_batch);
        assert_true(fabs(r.loss - evaluated) < 1e-5); // before the step
        assert_int_equal(r.step, i + 1);
        assert_int_equal(r.tokens, TOKENS);
        assert_int_equal(r.targets, TOKENS - 5); // each but a sequence's last
        assert_true(r.norm > 0);
        first = i == 0 ? r.loss : first;
        last = r.loss;
    }
    assert_true(fabs(first - log(50)) < 0.5);
    assert_true(last < first / 2);
    tn_train_close(t);
}

static void a_seed_fixes_every_bit(void **state)
{
    (void)state;
    struct tn_pool *three = tn_pool_threads(3);
    struct tn_train_options other = usual;
    other.seed++;
    struct tn_train *a = open_session(&usual, &tn_pool_single), *b = open_session(&usual, three);
    struct tn_train *c = open_session(&other, three);
    for (int i = 0; i < 8; i++) {
        struct tn_train_report x = step(a, &usual_batch), y = step(b, &usual_batch);
        step(c, &usual_batch);
        assert_memory_equal(&x.loss, &y.loss, sizeof x.loss);
        assert_memory_equal(&x.norm, &y.norm, sizeof x.norm);
    }
    size_t bytes = tn_train_parameters(a) * sizeof(float);
    float *p = parameters_of(a), *q = parameters_of(b), *r = parameters_of(c);
    assert_memory_equal(p, q, bytes);
    assert_memory_not_equal(p, r, bytes);
    free(p), free(q), free(r);
    tn_train_close(a);
    tn_train_close(b);
    tn_train_close(c);
    tn_pool_free(three);
}

static void shards_only_share_out_the_work(void **state)
{
    (void)state;
    struct tn_train_options one = usual;
    one.shards = 1;
    one.shard_tokens = 72;
    struct tn_train *a = open_session(&usual, &tn_pool_single);
    struct tn_train *b = open_session(&one, &tn_pool_single);
    for (int i = 0; i < 3; i++) { // sums in another order
        struct tn_train_report x = step(a, &usual_batch), y = step(b, &usual_batch);
        assert_true(fabs(x.loss - y.loss) < 1e-4 * y.loss);
        assert_true(fabs(x.norm - y.norm) < 1e-3 * y.norm);
    }
    tn_train_close(a);
    tn_train_close(b);
}

static void targets_choose_what_is_learned(void **state)
{
    (void)state;
    int32_t targets[TOKENS];
    for (int i = 0, at = 0, s = 0; i < TOKENS; i++, at++) { // what is meant without any
        if (at == (int)lengths[s]) {
            at = 0;
            s++;
        }
        targets[i] = at + 1 < (int)lengths[s] ? tokens[i + 1] : -1;
    }
    struct tn_train_batch batch = usual_batch;
    batch.targets = targets;
    struct tn_train *a = open_session(&usual, &tn_pool_single);
    struct tn_train *b = open_session(&usual, &tn_pool_single);
    struct tn_train_report x = step(a, &usual_batch), y = step(b, &batch);
    assert_memory_equal(&x.loss, &y.loss, sizeof x.loss);
    for (int i = 0; i < TOKENS; i++) { // the last shard has no targets left
        targets[i] = i < 20 ? 3 : -7;
    }
    y = step(b, &batch);
    assert_int_equal(y.targets, 20);
    for (int i = 0; i < TOKENS; i++) {
        targets[i] = -1;
    }
    assert_int_equal(tn_train_step(b, &batch, &y, error, sizeof error), -EDOM);
    assert_int_equal(tn_train_evaluate(b, &batch, &y.loss, error, sizeof error), -EDOM);
    tn_train_close(a);
    tn_train_close(b);
}

static void parameters_go_out_and_in(void **state)
{
    (void)state;
    struct tn_train *a = open_session(&usual, &tn_pool_single);
    struct tn_train_options other = usual;
    other.seed = 99;
    struct tn_train *b = open_session(&other, &tn_pool_single);
    uint64_t n = tn_train_parameters(a), expected = 0;
    struct tn_train_tensor t;
    uint32_t count = 0;
    for (; tn_train_tensor_at(a, count, &t) == 0; count++) {
        assert_int_equal(t.offset, expected);
        expected += t.rows * t.columns;
    }
    assert_int_equal(count, 2 * 9 + 2);
    assert_int_equal(n, expected);
    assert_int_equal(tn_train_tensor_at(a, 0, &t), 0);
    assert_string_equal(t.name, "token_embd.weight");
    assert_int_equal(t.rows, 50);
    float *p = parameters_of(a);
    assert_int_equal(tn_train_write(b, 0, 100, p), 0);
    assert_int_equal(tn_train_write(b, 100, n - 100, p + 100), 0);
    double x, y;
    assert_int_equal(tn_train_evaluate(a, &usual_batch, &x, error, sizeof error), 0);
    assert_int_equal(tn_train_evaluate(b, &usual_batch, &y, error, sizeof error), 0);
    assert_memory_equal(&x, &y, sizeof x);
    assert_int_equal(tn_train_read(a, 1, n, p), -EINVAL);
    assert_int_equal(tn_train_read(a, UINT64_MAX, 2, p), -EINVAL);
    assert_int_equal(tn_train_write(a, n, 1, p), -EINVAL);
    assert_int_equal(tn_train_write(a, n, 0, p), 0);
    p[0] = NAN; // of token 0, which the batch has
    assert_int_equal(tn_train_write(b, 0, 1, p), 0);
    struct tn_train_report r;
    assert_int_equal(tn_train_step(b, &usual_batch, &r, error, sizeof error), -ERANGE);
    assert_int_equal(tn_train_evaluate(b, &usual_batch, &y, error, sizeof error), -ERANGE);
    free(p);
    tn_train_close(a);
    tn_train_close(b);
}

static void refused(const struct tn_train_options *o, int rc, const char *words)
{
    struct tn_train *t = NULL;
    assert_int_equal(tn_train_open(o, &tn_pool_single, &t, error, sizeof error), rc);
    assert_null(t);
    if (!strstr(error, words)) {
        fail_msg("\"%s\" does not say \"%s\"", error, words);
    }
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    struct tn_train_options o;
#define REFUSED(FIELD, VALUE, WORDS)                                                               \
    (o = usual, o.FIELD = (VALUE), refused(&o, -EINVAL, "train: " WORDS))
    REFUSED(vocabulary, 0, "vocabulary is 0");
    REFUSED(vocabulary, UINT32_MAX, "vocabulary is 4294967295, expected 1 to 1048576");
    REFUSED(width, 1 << 20, "width is");
    REFUSED(width, 36, "4 heads must divide the width, 36, into even parts");
    REFUSED(width, 34, "4 heads must divide");
    REFUSED(layers, 0, "layers is");
    REFUSED(heads, 0, "heads is");
    REFUSED(kv_heads, 0, "kv_heads is");
    REFUSED(kv_heads, 5, "kv_heads is 5, expected 1 to 4");
    REFUSED(kv_heads, 3, "4 heads must divide");
    REFUSED(feed_forward, 1 << 30, "feed_forward is");
    REFUSED(context, 0, "context is");
    REFUSED(context, 25, "shard_tokens is 24, expected 25");
    REFUSED(shards, 0, "shards is");
    REFUSED(shards, 2000, "shards is");
    REFUSED(rope_base, NAN, "rope_base is");
    REFUSED(epsilon, -1, "epsilon is");
    REFUSED(rate, INFINITY, "rate is");
    REFUSED(decay, -0.5f, "decay is");
    REFUSED(clip, 0, "clip is");
    REFUSED(steps, 3, "3 warmup steps, expected less than 3");
    o = usual;
    o.memory_most = 1000;
    refused(&o, -ENOMEM, "1000 are allowed");
    o = (struct tn_train_options){1 << 20, 1 << 14, 512, 2,       1,         1 << 17, 1 << 16,
                                  false,   10,      0,   1 << 10, 1 << 10,   1 << 16, 1,
                                  1,       1,       0,   0,       1ull << 40};
    refused(&o, -ENOMEM, "are allowed");
}

static void bad_batches_are_refused(void **state)
{
    (void)state;
    struct tn_train *t = open_session(&usual, &tn_pool_single);
    float *before = parameters_of(t);
    static const int32_t bad[] = {-1, 50, INT32_MAX, INT32_MIN};
    struct tn_train_report r;
    struct tn_train_batch batch = usual_batch;
#define WRONG(WORDS)                                                                               \
    do {                                                                                           \
        assert_int_equal(tn_train_step(t, &batch, &r, error, sizeof error), -EINVAL);              \
        assert_int_equal(tn_train_evaluate(t, &batch, &r.loss, error, sizeof error), -EINVAL);     \
        if (!strstr(error, WORDS)) {                                                               \
            fail_msg("\"%s\" does not say \"%s\"", error, WORDS);                                  \
        }                                                                                          \
        batch = usual_batch;                                                                       \
    } while (0)
    int32_t ids[TOKENS];
    for (int i = 0; i < 4; i++) {
        memcpy(ids, tokens, sizeof ids);
        ids[TOKENS - 1] = bad[i];
        batch.tokens = ids;
        WRONG("train: token 46 is");
        if (bad[i] > 0) { // negative: no target
            batch.targets = ids;
            WRONG("train: target 46 is");
        }
    }
    static const uint32_t wrong[][5] = {{0, 9, 16, 1, 21},
                                        {17, 8, 16, 1, 5},
                                        {16, 9, 16, 1, 4},
                                        {16, 9, 16, 1, 6},
                                        {UINT32_MAX, 16}};
    for (int i = 0; i < 5; i++) {
        batch.lengths = wrong[i];
        WRONG(i == 2 ? "the sequences have 46 tokens, not 47" : "train: sequence");
    }
    batch.token_count = 0;
    WRONG("0 tokens in 5 sequences");
    batch.token_count = 73;
    WRONG("73 tokens");
    batch.sequence_count = 0;
    WRONG("47 tokens in 0 sequences");
    batch.sequence_count = 48;
    WRONG("47 tokens in 48 sequences");
    static int32_t many[72];
    static const uint32_t long_ones[] = {13, 13, 13, 13}; // one a shard
    batch = (struct tn_train_batch){many, NULL, long_ones, 52, 4};
    WRONG("sequence 3 does not fit into 3 shards of 24 tokens");
    float *after = parameters_of(t);
    assert_memory_equal(before, after, tn_train_parameters(t) * sizeof(float));
    free(before), free(after);
    tn_train_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_of_a_batch_falls),
        cmocka_unit_test(a_seed_fixes_every_bit),
        cmocka_unit_test(shards_only_share_out_the_work),
        cmocka_unit_test(targets_choose_what_is_learned),
        cmocka_unit_test(parameters_go_out_and_in),
        cmocka_unit_test(impossible_options_are_refused),
        cmocka_unit_test(bad_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, make_tokens, NULL);
}
