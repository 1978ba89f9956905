/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Any bytes as conversations, as questions, and as a place to go on from: refused, or samples whose
 * tokens lie in the vocabulary and batches within their capacity.
 */
// Links: tensor/train/data.c tensor/train/vocab.c tensor/train/vocab_learn.c
// Links: tensor/train/string_map.c
#include "tensor/train/data.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char lesson[] =
    "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n12 plus 30 is 42."
    "<|im_end|>\n\n";

static void draw(const struct train_samples *samples, struct train_place place)
{
    struct train_batch batch;
    struct train_order order = {0};
    if (train_batch_new(&batch, 64))
        abort();
    for (int i = 0; i < 3; i++) {
        if (train_batch_draw(&batch, 64, samples, &order, &place))
            break;
        if (batch.tokens > 64 || batch.starts[batch.sequences] != batch.tokens)
            abort();
    }
    train_batch_take(&batch, 64, samples, samples->count / 2);
    train_batch_free(&batch);
    free(order.sample);
}

static void use(struct train_samples *samples, const struct train_vocab *vocab,
                struct train_place place, size_t longest)
{
    for (size_t i = 0; i < samples->tokens; i++)
        if (samples->token[i] >= vocab->size || samples->answer[i] > 1)
            abort();
    for (size_t i = 0; i < samples->count; i++)
        if (samples->starts[i] > samples->starts[i + 1] ||
            samples->starts[i + 1] - samples->starts[i] > longest)
            abort();
    draw(samples, place);
    train_samples_free(samples);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct train_vocab vocab; // learning takes long, and words are remembered in it
    struct train_vocab other = {0};
    struct train_samples samples;
    if (bytes < 2)
        return 0;
    struct train_place place = {.seed = data[0], .next = data[1]};
    char *text = malloc(bytes - 1); // ended by a zero byte, as a file is
    memcpy(text, data + 2, bytes - 2);
    text[bytes - 2] = 0;
    if (vocab.cached_count > 10000)
        train_vocab_free(&vocab);
    if (!vocab.size && train_vocab_learn(&vocab, lesson, sizeof lesson - 1, 300))
        abort();
    if (!train_samples_from_chats(&samples, &vocab, text, bytes - 2, 40))
        use(&samples, &vocab, place, 40);
    if (!train_samples_from_questions(&samples, &vocab, text, bytes - 2, 64))
        use(&samples, &vocab, place, 64);
    if (data[0] % 16 == 0 && !train_vocab_learn(&other, text, bytes - 2, 300))
        train_vocab_free(&other);
    free(text);
    return 0;
}
