/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Batches are drawn from the samples there are, whatever place a checkpoint names.
 */
// Links: tensor/train/data.c tensor/train/vocab.c tensor/train/vocab_learn.c
// Links: tensor/train/string_map.c
#include "tensor/train/data.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char chats[] =
    "<|im_start|>user\nRed?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n\n"
    "<|im_start|>user\nBlue?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n\n";

static struct train_vocab vocab;
static struct train_samples samples;

static int make(void **state)
{
    (void)state;
    return train_vocab_learn(&vocab, chats, sizeof chats - 1, 300) ||
           train_samples_from_chats(&samples, &vocab, chats, sizeof chats - 1, 512);
}

static int forget(void **state)
{
    (void)state;
    train_samples_free(&samples);
    train_vocab_free(&vocab);
    return 0;
}

static void a_place_beyond_the_samples_is_refused(void **state)
{
    (void)state;
    struct train_batch batch;
    struct train_order order = {0};
    struct train_place place = {.seed = 1, .next = 2};
    assert_int_equal(samples.count, 2);
    assert_int_equal(train_batch_new(&batch, 512), 0);
    assert_int_equal(train_batch_draw(&batch, 512, &samples, &order, &place), -EINVAL);
    place.next = UINT64_MAX;
    assert_int_equal(train_batch_draw(&batch, 512, &samples, &order, &place), -EINVAL);
    place.next = 1;
    assert_int_equal(train_batch_draw(&batch, 512, &samples, &order, &place), 0);
    assert_true(batch.tokens > 0 && batch.tokens <= 512);
    train_batch_free(&batch);
    free(order.sample);
}

static void text_without_conversations_is_refused(void **state)
{
    (void)state;
    struct train_samples none;
    assert_int_equal(train_samples_from_chats(&none, &vocab, "", 0, 512), -EINVAL);
    assert_int_equal(train_samples_from_questions(&none, &vocab, "a\tb", 3, 512), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_beyond_the_samples_is_refused),
        cmocka_unit_test(text_without_conversations_is_refused),
    };
    return cmocka_run_group_tests(tests, make, forget);
}
