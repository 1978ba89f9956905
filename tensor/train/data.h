/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The data of training: ChatML conversations as tokens, drawn into batches in a shuffled order, and
 * held-out questions with their exact answers.
 */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include "tensor/train/net.h"
#include "tensor/train/vocab.h"

/* Samples one after another; the loss counts where `answer` is set. All zero is empty. */
struct train_samples {
    uint32_t *token;
    uint8_t *answer;  /* [tokens] whether the assistant says this token */
    uint32_t *starts; /* [count + 1] */
    size_t count, tokens;
    char **category; /* [count], held-out questions only */
};

/* Reads a whole file into memory, ended by a zero byte. Returns 0 or a negative errno. */
int train_read_file(const char *path, char **text, size_t *length);

/*
 * Conversations ended by empty lines. Those of more than `longest` tokens are left out.
 * Returns 0 or a negative errno.
 */
int train_samples_from_chats(struct train_samples *samples, struct train_vocab *vocab,
                             const char *text, size_t length, size_t longest);

/* Lines of category, question and answer, with tabs between. Returns 0 or a negative errno. */
int train_samples_from_questions(struct train_samples *samples, struct train_vocab *vocab,
                                 const char *text, size_t length, size_t longest);

void train_samples_free(struct train_samples *samples);

/* Where drawing stands; part of a checkpoint. */
struct train_place {
    uint64_t seed;
    uint64_t epoch, next;
};

/* The order of one epoch's samples, remade whenever an epoch begins. All zero at first. */
struct train_order {
    uint32_t *sample;
    uint64_t epoch;
};

int train_batch_new(struct train_batch *batch, size_t capacity);
void train_batch_free(struct train_batch *batch);

/*
 * Fills the batch with the next samples in shuffled order, up to `capacity` tokens. Returns 0,
 * -ENOMEM, or -EINVAL if there is no such place in these samples (a checkpoint of other data).
 */
int train_batch_draw(struct train_batch *batch, size_t capacity,
                     const struct train_samples *samples, struct train_order *order,
                     struct train_place *place);

/* Fills the batch with samples first, first + 1 ... as they come; returns how many fitted. */
size_t train_batch_take(struct train_batch *batch, size_t capacity,
                        const struct train_samples *samples, size_t first);

#endif
