/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Learning a vocabulary by byte-pair encoding: the distinct words of the text are counted, and the
 * most frequent pair of adjacent pieces becomes a piece until there are enough.
 */
#include "tensor/train/vocab.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 31 }; /* bytes in a piece */

/* A distinct word: its pieces as ids, and how often it occurs. */
struct word {
    uint32_t *pieces;
    size_t count;
    int64_t frequency;
};

static int put_token(struct train_vocab *vocab, const char *text, size_t length, float score,
                     int32_t kind)
{
    struct train_string_entry *entry;

    memcpy(vocab->text[vocab->size], text, length);
    vocab->text[vocab->size][length] = 0;
    vocab->score[vocab->size] = score;
    vocab->kind[vocab->size] = kind;
    if (kind == TRAIN_NORMAL) {
        entry = train_string_map_put(&vocab->pieces, text, length);
        if (!entry)
            return -ENOMEM;
        entry->value = (int64_t)vocab->size;
    }
    vocab->size++;
    return 0;
}

static int put_fixed(struct train_vocab *vocab)
{
    static const char *const names[] = {"<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"};
    char name[8];
    int rc = 0;

    for (int i = 0; i < TRAIN_FIRST_BYTE && !rc; i++)
        rc = put_token(vocab, names[i], strlen(names[i]), 0,
                       i == TRAIN_UNKNOWN ? TRAIN_KIND_UNKNOWN : TRAIN_CONTROL);
    for (int i = 0; i < 256 && !rc; i++) {
        snprintf(name, sizeof name, "<0x%02X>", i);
        rc = put_token(vocab, name, 6, 0, TRAIN_BYTE);
    }
    return rc;
}

/* Counts the distinct words of the text, leaving special tokens and newlines out. */
static int count_words(struct train_string_map *words, const char *text, size_t length)
{
    while (length) {
        size_t n = train_vocab_word(text, length);
        const char *special = memchr(text, '<', n);
        struct train_string_entry *entry;

        if (special == text && n > 1 && text[1] == '|') {
            const char *end = memchr(text, '>', n);

            n = end ? (size_t)(end - text) + 1 : n;
        } else {
            if (special && special > text)
                n = (size_t)(special - text);
            if (text[0] != '\n') {
                entry = train_string_map_put(words, text, n);
                if (!entry)
                    return -ENOMEM;
                entry->value++;
            }
        }
        text += n;
        length -= n;
    }
    return 0;
}

/* Splits a word into characters, adding those that are new to the vocabulary. */
static int start_word(struct train_vocab *vocab, struct word *word,
                      const struct train_string_entry *entry, size_t limit)
{
    char marked[1024];
    size_t length = train_vocab_mark(entry->text, entry->length, marked);

    word->frequency = entry->value;
    word->pieces = malloc((length + 1) * sizeof *word->pieces);
    if (!word->pieces)
        return -ENOMEM;
    for (size_t at = 0; at < length;) {
        const unsigned char c = (unsigned char)marked[at];
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        struct train_string_entry *piece;

        n = n < length - at ? n : length - at;
        piece = train_string_map_find(&vocab->pieces, marked + at, n);
        if (!piece) {
            if (vocab->size == limit)
                return -EINVAL;
            if (put_token(vocab, marked + at, n, 0, TRAIN_NORMAL))
                return -ENOMEM;
            word->pieces[word->count++] = (uint32_t)vocab->size - 1;
        } else {
            word->pieces[word->count++] = (uint32_t)piece->value;
        }
        at += n;
    }
    return 0;
}

static int may_merge(const struct train_vocab *vocab, uint32_t left, uint32_t right)
{
    const char *a = vocab->text[left], *b = vocab->text[right];

    return !isdigit((unsigned char)a[0]) && !isdigit((unsigned char)b[0]) &&
           strncmp(b, "\xe2\x96\x81", 3) != 0 && strlen(a) + strlen(b) <= LONGEST;
}

/* Merges the most frequent pair everywhere. Returns 1, 0 if no pair occurs twice, or -ENOMEM. */
static int merge_one(struct train_vocab *vocab, struct word *words, size_t count, int64_t *pairs,
                     size_t limit)
{
    char text[2 * LONGEST + 2];
    size_t best = 0;
    int length;

    memset(pairs, 0, limit * limit * sizeof *pairs);
    for (size_t w = 0; w < count; w++) {
        for (size_t i = 0; i + 1 < words[w].count; i++)
            pairs[words[w].pieces[i] * limit + words[w].pieces[i + 1]] += words[w].frequency;
    }
    for (size_t i = 0; i < limit * limit; i++) {
        if (pairs[i] > pairs[best] &&
            may_merge(vocab, (uint32_t)(i / limit), (uint32_t)(i % limit)))
            best = i;
    }
    if (pairs[best] < 2)
        return 0;
    length =
        snprintf(text, sizeof text, "%s%s", vocab->text[best / limit], vocab->text[best % limit]);
    if (put_token(vocab, text, (size_t)length, 0, TRAIN_NORMAL))
        return -ENOMEM;
    for (size_t w = 0; w < count; w++) {
        struct word *word = &words[w];
        size_t kept = 0;

        for (size_t i = 0; i < word->count; i++) {
            if (i + 1 < word->count && word->pieces[i] == best / limit &&
                word->pieces[i + 1] == best % limit) {
                word->pieces[kept++] = (uint32_t)vocab->size - 1;
                i++;
            } else {
                word->pieces[kept++] = word->pieces[i];
            }
        }
        word->count = kept;
    }
    return 1;
}

/* Earlier merges win, as they did in learning; single characters come last. */
static void put_scores(struct train_vocab *vocab, size_t first_merge)
{
    for (size_t i = first_merge; i < vocab->size; i++)
        vocab->score[i] = -(float)(i - first_merge + 1);
    for (size_t i = TRAIN_FIRST_PIECE; i < first_merge; i++)
        vocab->score[i] = -(float)(vocab->size + i);
}

int train_vocab_learn(struct train_vocab *vocab, const char *text, size_t length, size_t size)
{
    struct train_string_map distinct = {0};
    struct word *words = NULL;
    int64_t *pairs = NULL;
    size_t first_merge;
    int rc = -ENOMEM;

    memset(vocab, 0, sizeof *vocab);
    if (size <= TRAIN_FIRST_PIECE || size > 16384)
        return -EINVAL;
    vocab->text = calloc(size, sizeof *vocab->text);
    vocab->score = calloc(size, sizeof *vocab->score);
    vocab->kind = calloc(size, sizeof *vocab->kind);
    pairs = malloc(size * size * sizeof *pairs);
    if (!vocab->text || !vocab->score || !vocab->kind || !pairs || put_fixed(vocab) ||
        count_words(&distinct, text, length))
        goto out;
    words = calloc(distinct.count + 1, sizeof *words);
    if (!words)
        goto out;
    for (size_t i = 0; i < distinct.count; i++) {
        rc = start_word(vocab, &words[i], &distinct.entries[i], size);
        if (rc)
            goto out;
    }
    first_merge = vocab->size;
    rc = 1;
    while (vocab->size < size && rc == 1)
        rc = merge_one(vocab, words, distinct.count, pairs, size);
    if (rc < 0)
        goto out;
    rc = 0;
    put_scores(vocab, first_merge);
out:
    for (size_t i = 0; words && i < distinct.count; i++)
        free(words[i].pieces);
    free(words);
    free(pairs);
    train_string_map_free(&distinct);
    if (rc)
        train_vocab_free(vocab);
    return rc;
}
