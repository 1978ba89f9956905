/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Turns conversations into tokens and draws them into batches.
 */
#include "tensor/train/data.h"

#include "tensor/train/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int train_read_file(const char *path, char **text, size_t *length)
{
    FILE *file = fopen(path, "rb");
    long size;
    int rc = 0;

    *text = NULL;
    if (!file)
        return -errno;
    if (fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
        rc = -errno;
        goto out;
    }
    *text = malloc((size_t)size + 1);
    if (!*text) {
        rc = -ENOMEM;
        goto out;
    }
    *length = fread(*text, 1, (size_t)size, file);
    (*text)[*length] = 0;
    if (*length != (size_t)size)
        rc = -EIO;
out:
    fclose(file);
    if (rc)
        free(*text);
    return rc;
}

/* Marks what the assistant says: from the line after its name to the end of its turn. */
static void mark_answers(const uint32_t *token, uint8_t *answer, size_t count,
                         const uint32_t *header, size_t header_length)
{
    bool speaking = false;

    for (size_t i = 0; i < count; i++) {
        answer[i] = speaking;
        if (token[i] == TRAIN_TURN_END)
            speaking = false;
        if (i + 1 >= header_length && token[i + 1 - header_length] == TRAIN_TURN_BEGIN &&
            !memcmp(&token[i + 1 - header_length], header, header_length * sizeof *token))
            speaking = true;
    }
}

/* Makes room for `capacity` tokens and samples in all. */
static int reserve(struct train_samples *samples, size_t tokens, size_t count, bool categories)
{
    samples->token = malloc((tokens + 1) * sizeof *samples->token);
    samples->answer = malloc(tokens + 1);
    samples->starts = malloc((count + 1) * sizeof *samples->starts);
    samples->category = categories ? calloc(count + 1, sizeof *samples->category) : NULL;
    if (!samples->token || !samples->answer || !samples->starts ||
        (categories && !samples->category))
        return -ENOMEM;
    samples->starts[0] = 0;
    return 0;
}

/* Appends one conversation unless it is too long. Returns 1 if it was appended, 0 if not. */
static int put_sample(struct train_samples *samples, struct train_vocab *vocab, const char *text,
                      size_t length, size_t longest)
{
    static const char begin[] = "<|im_start|>assistant\n";
    uint32_t header[32];
    size_t header_length = 0, count = 0;
    uint32_t *token = samples->token + samples->tokens;
    int rc = train_vocab_encode(vocab, begin, sizeof begin - 1, header, 32, &header_length);

    if (!rc)
        rc = train_vocab_encode(vocab, text, length, token, length, &count);
    if (rc)
        return rc;
    if (count > longest)
        return 0;
    mark_answers(token, samples->answer + samples->tokens, count, header, header_length);
    samples->tokens += count;
    samples->starts[++samples->count] = (uint32_t)samples->tokens;
    return 1;
}

int train_samples_from_chats(struct train_samples *samples, struct train_vocab *vocab,
                             const char *text, size_t length, size_t longest)
{
    const char *end = text + length, *next;
    size_t count = 1;
    int rc;

    memset(samples, 0, sizeof *samples);
    for (const char *p = text; (p = strstr(p, "\n\n")); p += 2)
        count++;
    rc = reserve(samples, length, count, false);
    for (; !rc && text < end; text = next) {
        const char *stop = strstr(text, "\n\n");

        next = stop ? stop + 2 : end;
        rc = put_sample(samples, vocab, text, (size_t)((stop ? stop + 1 : end) - text), longest);
        rc = rc < 0 ? rc : 0;
    }
    if (!rc && !samples->count)
        rc = -EINVAL;
    if (rc)
        train_samples_free(samples);
    return rc;
}

int train_samples_from_questions(struct train_samples *samples, struct train_vocab *vocab,
                                 const char *text, size_t length, size_t longest)
{
    const char *end = text + length;
    size_t lines = 1;
    int rc;

    memset(samples, 0, sizeof *samples);
    for (const char *p = text; p < end; p++)
        lines += *p == '\n';
    rc = reserve(samples, length + lines * 80, lines, true);
    while (!rc && text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        const char *question, *answer;
        char chat[4096];
        int size;

        line_end = line_end ? line_end : end;
        question = memchr(text, '\t', (size_t)(line_end - text));
        answer = question ? memchr(question + 1, '\t', (size_t)(line_end - question - 1)) : NULL;
        if (!answer) {
            rc = -EINVAL;
            break;
        }
        size = snprintf(chat, sizeof chat,
                        "<|im_start|>user\n%.*s<|im_end|>\n<|im_start|>assistant\n%.*s<|im_end|>",
                        (int)(answer - question - 1), question + 1, (int)(line_end - answer - 1),
                        answer + 1);
        if (size < 0 || (size_t)size >= sizeof chat) {
            rc = -EMSGSIZE;
            break;
        }
        rc = put_sample(samples, vocab, chat, (size_t)size, longest);
        if (rc > 0)
            samples->category[samples->count - 1] = strndup(text, (size_t)(question - text));
        rc = rc == 1 ? 0 : rc == 0 ? -EMSGSIZE : rc;
        text = line_end + 1;
    }
    if (rc)
        train_samples_free(samples);
    return rc;
}

void train_samples_free(struct train_samples *samples)
{
    for (size_t i = 0; samples->category && i < samples->count; i++)
        free(samples->category[i]);
    free(samples->category);
    free(samples->token);
    free(samples->answer);
    free(samples->starts);
    memset(samples, 0, sizeof *samples);
}

int train_batch_new(struct train_batch *batch, size_t capacity)
{
    memset(batch, 0, sizeof *batch);
    batch->token = malloc(capacity * sizeof *batch->token);
    batch->target = malloc(capacity * sizeof *batch->target);
    batch->position = malloc(capacity * sizeof *batch->position);
    batch->starts = calloc(capacity + 1, sizeof *batch->starts);
    if (!batch->token || !batch->target || !batch->position || !batch->starts) {
        train_batch_free(batch);
        return -ENOMEM;
    }
    return 0;
}

void train_batch_free(struct train_batch *batch)
{
    free(batch->token);
    free(batch->target);
    free(batch->position);
    free(batch->starts);
    memset(batch, 0, sizeof *batch);
}

/* Appends a sample if there is room for it. */
static bool append(struct train_batch *batch, size_t capacity, const struct train_samples *samples,
                   size_t which)
{
    const size_t first = samples->starts[which], size = samples->starts[which + 1] - first;

    if (batch->tokens + size > capacity)
        return false;
    for (size_t i = 0; i < size; i++) {
        const size_t at = batch->tokens + i;

        batch->token[at] = samples->token[first + i];
        batch->position[at] = (uint32_t)i;
        batch->target[at] = i + 1 < size && samples->answer[first + i + 1]
                                ? (int32_t)samples->token[first + i + 1]
                                : -1;
    }
    batch->tokens += size;
    batch->starts[++batch->sequences] = (uint32_t)batch->tokens;
    return true;
}

/* The order of an epoch depends on the seed and the epoch only. */
static int shuffle(struct train_order *order, const struct train_samples *samples,
                   const struct train_place *place)
{
    uint64_t state = place->seed + (place->epoch + 1) * 0x632be59bd9b4e019u;

    if (!order->sample) {
        order->sample = malloc(samples->count * sizeof *order->sample);
        if (!order->sample)
            return -ENOMEM;
    }
    for (size_t i = 0; i < samples->count; i++)
        order->sample[i] = (uint32_t)i;
    for (size_t i = samples->count; i > 1; i--) {
        const size_t j = train_random_below(&state, (uint32_t)i);
        const uint32_t swapped = order->sample[i - 1];

        order->sample[i - 1] = order->sample[j];
        order->sample[j] = swapped;
    }
    order->epoch = place->epoch;
    return 0;
}

int train_batch_draw(struct train_batch *batch, size_t capacity,
                     const struct train_samples *samples, struct train_order *order,
                     struct train_place *place)
{
    batch->tokens = batch->sequences = 0;
    for (;;) {
        if (!order->sample || order->epoch != place->epoch) {
            const int rc = shuffle(order, samples, place);

            if (rc)
                return rc;
        }
        if (place->next >= samples->count)
            return -EINVAL;
        if (!append(batch, capacity, samples, order->sample[place->next]))
            return 0;
        if (++place->next == samples->count) {
            place->next = 0;
            place->epoch++;
        }
    }
}

size_t train_batch_take(struct train_batch *batch, size_t capacity,
                        const struct train_samples *samples, size_t first)
{
    size_t taken = 0;

    batch->tokens = batch->sequences = 0;
    while (first + taken < samples->count && append(batch, capacity, samples, first + taken))
        taken++;
    return taken;
}
