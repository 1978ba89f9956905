/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Encoding with a SentencePiece vocabulary: in each word, the adjacent pair whose merged text has
 * the highest score is merged until no pair is left; what is no piece then falls to bytes.
 */
#include "tensor/train/vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 768 }; /* longest marked word in bytes; longer ones are cut */

static const struct {
    const char *text;
    uint32_t id;
} specials[] = {{"<|im_start|>", TRAIN_TURN_BEGIN}, {"<|im_end|>", TRAIN_TURN_END}};

size_t train_vocab_word(const char *text, size_t length)
{
    size_t n = 1;

    if (!length)
        return 0;
    if (text[0] == '\n')
        return 1;
    while (n < length && n < WORD / 3 && text[n] != ' ' && text[n] != '\n')
        n++;
    return n;
}

size_t train_vocab_mark(const char *word, size_t length, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        if (word[i] == ' ') {
            memcpy(out + n, "\xe2\x96\x81", 3);
            n += 3;
        } else {
            out[n++] = word[i];
        }
    }
    return n;
}

static size_t character(const char *text, size_t length)
{
    const unsigned char c = (unsigned char)text[0];
    const size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

    return n < length ? n : length;
}

/* Splits one marked word into tokens; `ids` has room for a token a byte. */
static size_t split(const struct train_vocab *vocab, const char *word, size_t length, uint32_t *ids)
{
    size_t starts[WORD + 1], parts = 0, count = 0;

    for (size_t at = 0; at < length; at += character(word + at, length - at))
        starts[parts++] = at;
    starts[parts] = length;
    for (;;) {
        float best = -1e30f;
        size_t where = parts;

        for (size_t i = 0; i + 1 < parts; i++) {
            const struct train_string_entry *entry =
                train_string_map_find(&vocab->pieces, word + starts[i], starts[i + 2] - starts[i]);

            if (entry && vocab->score[entry->value] > best) {
                best = vocab->score[entry->value];
                where = i;
            }
        }
        if (where == parts)
            break;
        memmove(&starts[where + 1], &starts[where + 2], (parts - where - 1) * sizeof *starts);
        parts--;
    }
    for (size_t i = 0; i < parts; i++) {
        const struct train_string_entry *entry =
            train_string_map_find(&vocab->pieces, word + starts[i], starts[i + 1] - starts[i]);

        if (entry) {
            ids[count++] = (uint32_t)entry->value;
            continue;
        }
        for (size_t at = starts[i]; at < starts[i + 1]; at++)
            ids[count++] = TRAIN_FIRST_BYTE + (unsigned char)word[at];
    }
    return count;
}

/* The tokens of a word, from the store of known words: first how many, then the ids. */
static const uint32_t *tokens_of(struct train_vocab *vocab, const char *word, size_t length)
{
    struct train_string_entry *entry = train_string_map_find(&vocab->words, word, length);
    char marked[WORD];
    size_t marked_length;

    if (entry)
        return vocab->cached + entry->value;
    if (vocab->cached_count + WORD + 1 > vocab->cached_capacity) {
        const size_t capacity = vocab->cached_capacity * 2 + 16 * WORD;
        uint32_t *cached = realloc(vocab->cached, capacity * sizeof *cached);

        if (!cached)
            return NULL;
        vocab->cached = cached;
        vocab->cached_capacity = capacity;
    }
    entry = train_string_map_put(&vocab->words, word, length);
    if (!entry)
        return NULL;
    entry->value = (int64_t)vocab->cached_count;
    marked_length = train_vocab_mark(word, length, marked);
    vocab->cached[entry->value] =
        (uint32_t)split(vocab, marked, marked_length, vocab->cached + entry->value + 1);
    vocab->cached_count += vocab->cached[entry->value] + 1;
    return vocab->cached + entry->value;
}

int train_vocab_encode(struct train_vocab *vocab, const char *text, size_t length, uint32_t *ids,
                       size_t capacity, size_t *count)
{
    while (length) {
        const uint32_t *tokens;
        size_t taken = 0, stop = length;

        for (size_t i = 0; i < sizeof specials / sizeof *specials && !taken; i++) {
            const size_t n = strlen(specials[i].text);

            if (length >= n && !memcmp(text, specials[i].text, n)) {
                if (*count == capacity)
                    return -ENOBUFS;
                ids[(*count)++] = specials[i].id;
                taken = n;
            }
        }
        if (taken) {
            text += taken;
            length -= taken;
            continue;
        }
        for (size_t i = 1; i < length; i++) { /* a special token ends a word */
            if (text[i] == '<' && i + 1 < length && text[i + 1] == '|') {
                stop = i;
                break;
            }
        }
        while (stop) {
            taken = train_vocab_word(text, stop);
            tokens = tokens_of(vocab, text, taken);
            if (!tokens)
                return -ENOMEM;
            if (*count + tokens[0] > capacity)
                return -ENOBUFS;
            memcpy(ids + *count, tokens + 1, tokens[0] * sizeof *ids);
            *count += tokens[0];
            text += taken;
            length -= taken;
            stop -= taken;
        }
    }
    return 0;
}

void train_vocab_free(struct train_vocab *vocab)
{
    free(vocab->text);
    free(vocab->score);
    free(vocab->kind);
    free(vocab->cached);
    train_string_map_free(&vocab->pieces);
    train_string_map_free(&vocab->words);
    memset(vocab, 0, sizeof *vocab);
}
