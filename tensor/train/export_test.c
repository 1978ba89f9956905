/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Holds an exported file against the project's own reader: keys, tensors, chat format, and a
 * tokenizer that gives the very tokens the model was trained with.
 */
// Links: tensor/train/export.c tensor/train/q8.c tensor/train/vocab.c
// Links: tensor/train/vocab_learn.c tensor/train/string_map.c tensor/train/net.c
// Links: tensor/train/ops.c tensor/train/gemm.c
// Links: tensor/format/gguf_write_host.c @tensor
#include "tensor/train/export.h"

#include "tensor/chat.h"
#include "tensor/gguf.h"
#include "tensor/tokenizer.h"
#include "tensor/train/q8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char text[] =
    "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n12 plus 30 is 42."
    "<|im_end|>\n\n<|im_start|>user\nWhat is the sum of 12 and 12?<|im_end|>\n"
    "<|im_start|>assistant\n12 plus 12 is 24.<|im_end|>\n\n";

static char path[] = "/tmp/export_test.XXXXXX";
static struct train_vocab vocab;
static struct train_net net;
static float *parameters;
static char *file;
static size_t file_size;
static struct gguf *gguf;

static int prepare(void **state)
{
    struct train_shape shape = {.width = 64,
                                .layers = 2,
                                .heads = 2,
                                .kv_heads = 1,
                                .ff = 96,
                                .context = 16,
                                .tied = 1,
                                .rope_base = 10000.0f,
                                .epsilon = 1e-5f};
    const int fd = mkstemp(path);
    char error[200];
    FILE *in;

    (void)state;
    if (fd < 0 || close(fd) || train_vocab_learn(&vocab, text, sizeof text - 1, 320))
        return -1;
    shape.vocab = (uint32_t)vocab.size;
    if (train_net_open(&net, &shape))
        return -1;
    parameters = malloc(net.parameters * sizeof *parameters);
    file = malloc(1 << 20);
    if (!parameters || !file)
        return -1;
    train_net_initialise(&net, 1, parameters);
    if (train_export_gguf(&net, parameters, &vocab, "A test", path) || !(in = fopen(path, "rb")))
        return -1;
    file_size = fread(file, 1, 1 << 20, in);
    fclose(in);
    return gguf_open(file, file_size, &gguf, error, sizeof error);
}

static int dispose(void **state)
{
    (void)state;
    gguf_close(gguf);
    free(file);
    free(parameters);
    train_net_close(&net);
    train_vocab_free(&vocab);
    return remove(path);
}

static uint64_t number(const char *key)
{
    uint64_t value = 0;

    assert_int_equal(gguf_u64(gguf, key, &value), 0);
    return value;
}

static void the_keys_give_the_shape(void **state)
{
    struct gguf_string name;

    (void)state;
    assert_int_equal(number("llama.embedding_length"), 64);
    assert_int_equal(number("llama.block_count"), 2);
    assert_int_equal(number("llama.attention.head_count"), 2);
    assert_int_equal(number("llama.attention.head_count_kv"), 1);
    assert_int_equal(number("llama.feed_forward_length"), 96);
    assert_int_equal(number("llama.context_length"), 16);
    assert_int_equal(gguf_str(gguf, "general.architecture", &name), 0);
    assert_int_equal(name.bytes, 5);
    assert_memory_equal(name.data, "llama", 5);
    assert_int_equal(file_size % 4096, 0);
}

static void every_tensor_holds_the_rounded_parameters(void **state)
{
    float *rounded = malloc(net.parameters * sizeof *rounded);
    float *read = malloc(net.parameters * sizeof *read);

    (void)state;
    assert_non_null(rounded);
    assert_non_null(read);
    train_round_to_q8(&net, parameters, rounded);
    assert_int_equal(gguf_tensor_count(gguf), net.tensor_count);
    for (size_t t = 0; t < net.tensor_count; t++) {
        const struct train_tensor *tensor = &net.tensors[t];
        const struct gguf_tensor *found = gguf_find(gguf, tensor->name);
        const size_t count = tensor->rows * tensor->columns;

        assert_non_null(found);
        assert_int_equal(found->shape[0], tensor->columns);
        assert_int_equal(found->shape[1], tensor->rows);
        if (tensor->rows == 1)
            memcpy(read, found->data, count * sizeof *read);
        else
            train_q8_decode(count, found->data, read);
        assert_memory_equal(read, rounded + tensor->offset, count * sizeof *read);
    }
    free(rounded);
    free(read);
}

static void the_chat_format_is_recognised(void **state)
{
    (void)state;
    assert_int_equal(chat_recognise(gguf), CHAT_CHATML);
}

static void the_tokenizer_gives_the_tokens_of_training(void **state)
{
    static const char *const texts[] = {
        text,
        "What is the sum of 99 and 1234?",
        "  two  spaces, and a tab\t",
        "Unseen: \xc3\xa9\xe2\x82\xac <0x41> <|im_start",
        "plus\nplus plus12plus",
    };
    struct tokenizer *tokenizer;
    char error[200];

    (void)state;
    assert_int_equal(tokenizer_open(gguf, &tokenizer, error, sizeof error), 0);
    assert_int_equal(tokenizer_eos(tokenizer), TRAIN_TURN_END);
    assert_true(tokenizer_is_end(tokenizer, TRAIN_TURN_END));
    assert_false(tokenizer_adds_bos(tokenizer));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const unsigned flags = TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL;
        const char *given = texts[i];
        uint32_t mine[512];
        int32_t theirs[512];
        size_t count = 0;

        assert_int_equal(train_vocab_encode(&vocab, given, strlen(given), mine, 512, &count), 0);
        assert_int_equal(tokenizer_encode(tokenizer, given, strlen(given), flags, theirs, 512),
                         count);
        assert_memory_equal(mine, theirs, count * sizeof *mine);
    }
    tokenizer_close(tokenizer);
}

static void a_width_that_q8_cannot_hold_is_refused(void **state)
{
    struct train_net odd = net;

    (void)state;
    odd.shape.ff = 90;
    assert_int_equal(train_export_gguf(&odd, parameters, &vocab, "A test", path), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_give_the_shape),
        cmocka_unit_test(every_tensor_holds_the_rounded_parameters),
        cmocka_unit_test(the_chat_format_is_recognised),
        cmocka_unit_test(the_tokenizer_gives_the_tokens_of_training),
        cmocka_unit_test(a_width_that_q8_cannot_hold_is_refused),
    };

    return cmocka_run_group_tests(tests, prepare, dispose);
}
