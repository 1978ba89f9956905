/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Whole training runs in small: they learn, they do not depend on the number of threads, and one
 * that stops and resumes ends where one that never stopped does.
 */
// Links: tensor/train/trainer.c tensor/train/checkpoint.c tensor/train/data.c
// Links: tensor/train/vocab.c tensor/train/vocab_learn.c tensor/train/string_map.c
// Links: tensor/core/pool_host.c tensor/train/evaluate.c tensor/train/net.c tensor/train/ops.c
// Links: tensor/train/gemm.c tensor/cpu/gemm.c tensor/cpu/gemm_scalar.c tensor/cpu/gemm_avx2.c
// Links: tensor/cpu/gemm_avx512.c tensor/cpu/gemm8_scalar.c tensor/cpu/gemm8_avx2.c
// Links: tensor/cpu/gemm8_avx512vnni.c tensor/core/pool.c
#include "tensor/train/evaluate.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CHAT(question, answer)                                                                     \
    "<|im_start|>user\n" question "<|im_end|>\n<|im_start|>assistant\n" answer "<|im_end|>\n\n"

static const char text[] = CHAT("What is red?", "A colour.") CHAT("What is one?", "A number.")
    CHAT("What is blue?", "A colour.") CHAT("What is two?", "A number.");
static const char questions_text[] = "things\tWhat is red?\tA colour.\n"
                                     "things\tWhat is two?\tA number.\n";

static struct train_vocab vocab;
static struct train_samples samples, questions;
static char path[] = "/tmp/trainer_test.XXXXXX";

static int prepare(void **state)
{
    const int fd = mkstemp(path);

    (void)state;
    if (fd < 0 || close(fd) || train_vocab_learn(&vocab, text, sizeof text - 1, 300))
        return -1;
    return train_samples_from_chats(&samples, &vocab, text, sizeof text - 1, 64) ||
           train_samples_from_questions(&questions, &vocab, questions_text,
                                        sizeof questions_text - 1, 64);
}

static int dispose(void **state)
{
    (void)state;
    train_samples_free(&samples);
    train_samples_free(&questions);
    train_vocab_free(&vocab);
    return remove(path);
}

static void open_run(struct train_run *run, struct tn_pool *pool)
{
    const struct train_options options = {
        .shape = {.vocab = (uint32_t)vocab.size,
                  .width = 32,
                  .layers = 2,
                  .heads = 2,
                  .kv_heads = 1,
                  .ff = 64,
                  .context = 64,
                  .tied = 1,
                  .rope_base = 10000.0f,
                  .epsilon = 1e-5f},
        .seed = 1,
        .steps = 60,
        .warmup = 5,
        .shards = 3,
        .shard_tokens = 64,
        .rate = 0.01f,
        .decay = 0.1f,
        .clip = 1.0f,
    };

    assert_int_equal(train_run_open(run, &options, pool), 0);
}

static double steps(struct train_run *run, unsigned count)
{
    struct train_report report = {0};

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(train_run_step(run, &samples, &report), 0);
    return report.loss;
}

static void only_the_assistants_words_count(void **state)
{
    size_t answers = 0;

    (void)state;
    assert_int_equal(samples.count, 4);
    for (uint32_t i = samples.starts[0]; i < samples.starts[1]; i++) {
        answers += samples.answer[i];
        if (samples.token[i] == TRAIN_TURN_BEGIN)
            assert_false(samples.answer[i]);
    }
    assert_true(answers >= 2 && answers < 10);
    assert_true(samples.answer[samples.starts[1] - 2]);  /* the end of the turn is an answer, */
    assert_false(samples.answer[samples.starts[1] - 1]); /* the newline after it is not */
}

static void a_run_learns_its_corpus(void **state)
{
    struct train_scores scores;
    struct train_run run;

    (void)state;
    open_run(&run, &tn_pool_single);
    assert_int_equal(train_evaluate(&run, run.parameters, &questions, NULL, &scores), 0);
    assert_int_equal(scores.all.right, 0);
    assert_true(steps(&run, 60) < 0.1);
    assert_int_equal(train_evaluate(&run, run.parameters, &questions, NULL, &scores), 0);
    assert_int_equal(scores.all.asked, 2);
    assert_int_equal(scores.all.right, 2);
    assert_string_equal(scores.category[0].category, "things");
    train_run_close(&run);
}

static void the_number_of_threads_changes_nothing(void **state)
{
    struct tn_pool *pool = tn_pool_threads(3);
    struct train_run one, three;

    (void)state;
    open_run(&one, &tn_pool_single);
    open_run(&three, pool);
    steps(&one, 5);
    steps(&three, 5);
    assert_memory_equal(one.parameters, three.parameters, one.net.parameters * sizeof(float));
    train_run_close(&one);
    train_run_close(&three);
    tn_pool_free(pool);
}

static void a_resumed_run_ends_where_an_unbroken_one_does(void **state)
{
    struct train_run whole, first, second;

    (void)state;
    open_run(&whole, &tn_pool_single);
    steps(&whole, 9);
    open_run(&first, &tn_pool_single);
    steps(&first, 4);
    assert_int_equal(train_run_save(&first, path), 0);
    train_run_close(&first);
    open_run(&second, &tn_pool_single);
    assert_int_equal(train_run_load(&second, path), 0);
    steps(&second, 5);
    assert_memory_equal(whole.parameters, second.parameters, whole.net.parameters * sizeof(float));
    train_run_close(&whole);
    train_run_close(&second);
}

static void what_is_no_number_ends_the_run_before_it_spreads(void **state)
{
    struct train_run run;
    struct train_report report;

    (void)state;
    open_run(&run, &tn_pool_single);
    run.parameters[0] = NAN;
    const float other = run.parameters[1];
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(train_run_step(&run, &samples, &report), -ERANGE);
    assert_int_equal(run.step, 0);
    assert_true(run.parameters[1] == other);
    train_run_close(&run);
}

static void a_checkpoint_of_another_shape_is_refused(void **state)
{
    struct train_run run;

    (void)state;
    open_run(&run, &tn_pool_single);
    assert_int_equal(train_run_save(&run, path), 0);
    run.options.shape.ff++;
    assert_int_equal(train_run_load(&run, path), -EINVAL);
    run.options.shape.ff--;
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(train_run_load(&run, path), -EINVAL);
    train_run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_assistants_words_count),
        cmocka_unit_test(a_run_learns_its_corpus),
        cmocka_unit_test(the_number_of_threads_changes_nothing),
        cmocka_unit_test(a_resumed_run_ends_where_an_unbroken_one_does),
        cmocka_unit_test(a_checkpoint_of_another_shape_is_refused),
        cmocka_unit_test(what_is_no_number_ends_the_run_before_it_spreads),
    };

    return cmocka_run_group_tests(tests, prepare, dispose);
}
