/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The rules that a learnt vocabulary keeps, and encoding by highest score.
 */
// Links: tensor/train/vocab.c tensor/train/vocab_learn.c tensor/train/string_map.c
#include "tensor/train/vocab.h"

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define MARK "\xe2\x96\x81"

static const char text[] =
    "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n12 plus 30 is 42."
    "<|im_end|>\n\n<|im_start|>user\nWhat is the sum of 12 and 12?<|im_end|>\n"
    "<|im_start|>assistant\n12 plus 12 is 24.<|im_end|>\n\n";

static struct train_vocab vocab;

static int learn(void **state)
{
    (void)state;
    return train_vocab_learn(&vocab, text, sizeof text - 1, 310);
}

static int forget(void **state)
{
    (void)state;
    train_vocab_free(&vocab);
    return 0;
}

static size_t encode(const char *string, uint32_t *ids, size_t capacity)
{
    size_t count = 0;

    assert_int_equal(train_vocab_encode(&vocab, string, strlen(string), ids, capacity, &count), 0);
    return count;
}

static void pieces_keep_the_rules(void **state)
{
    (void)state;
    assert_true(vocab.size > TRAIN_FIRST_PIECE + 20);
    for (size_t i = TRAIN_FIRST_PIECE; i < vocab.size; i++) {
        const char *piece = vocab.text[i];
        bool digit = false;

        assert_null(strstr(piece + 1, MARK));
        assert_null(strchr(piece, '\n'));
        for (const char *p = piece; *p; p++)
            digit |= isdigit((unsigned char)*p) != 0;
        assert_false(digit && strlen(piece) > 1);
        assert_int_equal(vocab.kind[i], TRAIN_NORMAL);
    }
}

static void earlier_merges_have_higher_scores(void **state)
{
    const struct train_string_entry *common, *rare;

    (void)state;
    common = train_string_map_find(&vocab.pieces, MARK "plus", 7);
    rare = train_string_map_find(&vocab.pieces, "p", 1);
    assert_non_null(common);
    assert_non_null(rare);
    assert_true(vocab.score[common->value] > vocab.score[rare->value]);
}

static void known_words_are_one_token_and_digits_stand_alone(void **state)
{
    uint32_t ids[32];

    (void)state;
    assert_int_equal(encode(" plus 12", ids, 32), 4); /* word, mark, two digits */
    assert_string_equal(vocab.text[ids[0]], MARK "plus");
    assert_string_equal(vocab.text[ids[1]], MARK);
    assert_string_equal(vocab.text[ids[2]], "1");
    assert_string_equal(vocab.text[ids[3]], "2");
}

static void special_tokens_are_parsed_first(void **state)
{
    uint32_t ids[32];

    (void)state;
    assert_int_equal(encode("<|im_start|>12<|im_end|>\n", ids, 32), 5);
    assert_int_equal(ids[0], TRAIN_TURN_BEGIN);
    assert_int_equal(ids[3], TRAIN_TURN_END);
    assert_int_equal(ids[4], TRAIN_FIRST_BYTE + '\n');
}

static void unknown_characters_fall_to_bytes(void **state)
{
    uint32_t ids[32];

    (void)state;
    assert_int_equal(encode("\xc3\xa9Z", ids, 32), 3);
    assert_int_equal(ids[0], TRAIN_FIRST_BYTE + 0xc3);
    assert_int_equal(ids[1], TRAIN_FIRST_BYTE + 0xa9);
    assert_int_equal(ids[2], TRAIN_FIRST_BYTE + 'Z');
}

static void tokens_spell_the_text(void **state)
{
    const char *given = "What is the Sum  of 12?";
    char spelt[128] = "";
    uint32_t ids[64];
    const size_t count = encode(given, ids, 64);
    char marked[80];
    const size_t length = train_vocab_mark(given, strlen(given), marked);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        const char byte[2] = {(char)(ids[i] - TRAIN_FIRST_BYTE), 0};

        strcat(spelt, vocab.kind[ids[i]] == TRAIN_BYTE ? byte : vocab.text[ids[i]]);
    }
    assert_int_equal(strlen(spelt), length);
    assert_memory_equal(spelt, marked, length);
}

static void too_small_a_buffer_is_refused(void **state)
{
    uint32_t ids[2];
    size_t count = 0;

    (void)state;
    assert_int_equal(train_vocab_encode(&vocab, "1234", 4, ids, 2, &count), -ENOBUFS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_keep_the_rules),
        cmocka_unit_test(earlier_merges_have_higher_scores),
        cmocka_unit_test(known_words_are_one_token_and_digits_stand_alone),
        cmocka_unit_test(special_tokens_are_parsed_first),
        cmocka_unit_test(unknown_characters_fall_to_bytes),
        cmocka_unit_test(tokens_spell_the_text),
        cmocka_unit_test(too_small_a_buffer_is_refused),
    };

    return cmocka_run_group_tests(tests, learn, forget);
}
