/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The vocabulary that a model is trained with: of the SentencePiece kind that GGUF calls "llama",
 * learnt from the corpus. No piece crosses a word boundary and none holds a digit and anything
 * else.
 */
#ifndef TRAIN_VOCAB_H
#define TRAIN_VOCAB_H

#include "tensor/train/string_map.h"

/* Token ids that every vocabulary has; the byte tokens follow from TRAIN_FIRST_BYTE on. */
enum {
    TRAIN_UNKNOWN,
    TRAIN_BEGIN,
    TRAIN_END,
    TRAIN_TURN_BEGIN, /* <|im_start|> */
    TRAIN_TURN_END,   /* <|im_end|> */
    TRAIN_FIRST_BYTE,
    TRAIN_FIRST_PIECE = TRAIN_FIRST_BYTE + 256,
};

/* Kinds of token, as GGUF numbers them. */
enum { TRAIN_NORMAL = 1, TRAIN_KIND_UNKNOWN = 2, TRAIN_CONTROL = 3, TRAIN_BYTE = 6 };

/* All zero is an empty vocabulary. */
struct train_vocab {
    size_t size;
    char (*text)[32];
    float *score;
    int32_t *kind;
    struct train_string_map pieces; /* text of a normal piece to its id */
    struct train_string_map words;  /* words met so far, to a place in `cached` */
    uint32_t *cached;
    size_t cached_count, cached_capacity;
};

/*
 * Learns a vocabulary of `size` tokens from the text by merging the most frequent pair again and
 * again. Fewer tokens result when the text runs out of pairs. Returns 0, -EINVAL for a size that
 * leaves no room for single characters, or -ENOMEM.
 */
int train_vocab_learn(struct train_vocab *vocab, const char *text, size_t length, size_t size);
void train_vocab_free(struct train_vocab *vocab);

/*
 * Appends the tokens of text to ids[*count], as llama.cpp would with special tokens parsed and
 * neither prefix space nor BOS. Returns 0, -ENOBUFS if they exceed `capacity`, or -ENOMEM.
 * Remembers words, so that one thread at a time may use a vocabulary.
 */
int train_vocab_encode(struct train_vocab *vocab, const char *text, size_t length, uint32_t *ids,
                       size_t capacity, size_t *count);

/*
 * The next word of text that no piece may cross: a space and what follows it up to the next space
 * or newline, or a newline. Returns its length, 0 at the end. Used by learning and encoding.
 */
size_t train_vocab_word(const char *text, size_t length);

/* Writes the word with each space as U+2581; `out` has room for three times the length. */
size_t train_vocab_mark(const char *word, size_t length, char *out);

#endif
