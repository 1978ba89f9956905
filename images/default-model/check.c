/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Proves that the held-out questions are held out: the words of none of them occur in a row in any
 * turn of the training text, and no pair of numbers of theirs occurs there in either order.
 * Letter case and punctuation do not count.
 */
#include "corpus.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096, WORDS = 256, NUMBERS = 1001, SLOTS = 1 << 16 };

/* A turn as a list of words in lower case; signs of arithmetic are words, too. */
struct words {
    char text[LINE];
    const char *word[WORDS];
    size_t count;
};

struct question {
    char *text;
    size_t words;
    uint64_t hash;
    struct question *next; /* with the same slot */
};

struct checker {
    struct question *slot[SLOTS];
    size_t questions, longest; /* in words */
    bool held_out[NUMBERS][NUMBERS], trained[NUMBERS][NUMBERS];
    size_t faults;
};

static bool is_sign(char c)
{
    return c == '+' || c == '-' || c == '=';
}

/* Splits into words; a hyphen between letters joins, elsewhere it is a minus. */
static void split(struct words *words, const char *text, size_t length)
{
    size_t at = 0;
    bool inside = false;

    words->count = 0;
    for (size_t i = 0; i < length && at + 2 < LINE && words->count < WORDS; i++) {
        const char c = (char)tolower((unsigned char)text[i]);

        if (is_sign(c) || (isalnum((unsigned char)c) &&
                           (!inside || (i && !isdigit((unsigned char)c) !=
                                                 !isdigit((unsigned char)text[i - 1]))))) {
            if (inside)
                words->text[at++] = 0;
            words->word[words->count++] = &words->text[at];
            inside = true;
        }
        if (isalnum((unsigned char)c) || is_sign(c)) {
            words->text[at++] = c;
        } else if (inside && c != '\'') {
            words->text[at++] = 0;
        }
        if (is_sign(c) || (!isalnum((unsigned char)c) && c != '\'')) {
            if (is_sign(c))
                words->text[at++] = 0;
            inside = false;
        }
    }
    words->text[at] = 0;
}

static uint64_t hash_word(uint64_t hash, const char *word)
{
    for (; *word; word++)
        hash = (hash ^ (unsigned char)*word) * 0x100000001b3u;
    return (hash ^ ' ') * 0x100000001b3u;
}

static bool same_words(const struct words *words, size_t first, const struct question *question)
{
    const char *rest = question->text;

    for (size_t i = 0; i < question->words; i++) {
        const size_t n = strlen(words->word[first + i]);

        if (strncmp(rest, words->word[first + i], n) || rest[n] != ' ')
            return false;
        rest += n + 1;
    }
    return true;
}

/* Whether the word is a number up to 1000. */
static bool number_of(const char *word, unsigned *number)
{
    if (!isdigit((unsigned char)*word) || strlen(word) > 4)
        return false;
    *number = (unsigned)atoi(word);
    return *number < NUMBERS;
}

static void mark_pair(bool pairs[NUMBERS][NUMBERS], unsigned a, unsigned b)
{
    pairs[a][b] = pairs[b][a] = true;
}

/* In questions: any two numbers. */
static void mark_pairs(bool pairs[NUMBERS][NUMBERS], const struct words *words)
{
    unsigned numbers[16];
    size_t count = 0;

    for (size_t i = 0; i < words->count && count < 16; i++)
        count += number_of(words->word[i], &numbers[count]);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++)
            mark_pair(pairs, numbers[i], numbers[j]);
    }
}

/* In answers: numbers that are added, subtracted or compared, like "60 + 12". */
static void mark_operands(bool pairs[NUMBERS][NUMBERS], const struct words *words)
{
    static const char *const between[] = {"plus", "minus", "+", "-", "and"};

    for (size_t i = 0; i + 2 < words->count; i++) {
        for (size_t k = 0; k < sizeof between / sizeof *between; k++) {
            unsigned pair[2];

            if (!strcmp(words->word[i + 1], between[k]) && number_of(words->word[i], &pair[0]) &&
                number_of(words->word[i + 2], &pair[1]))
                mark_pair(pairs, pair[0], pair[1]);
        }
    }
}

static int add_question(struct checker *checker, const struct words *words)
{
    struct question *question = calloc(1, sizeof *question);
    char text[2 * LINE];
    size_t at = 0;

    if (!question)
        return -ENOMEM;
    question->hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < words->count; i++) {
        question->hash = hash_word(question->hash, words->word[i]);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s ", words->word[i]);
    }
    question->words = words->count;
    question->text = strdup(text);
    if (!question->text) {
        free(question);
        return -ENOMEM;
    }
    question->next = checker->slot[question->hash % SLOTS];
    checker->slot[question->hash % SLOTS] = question;
    checker->questions++;
    if (words->count > checker->longest)
        checker->longest = words->count;
    return 0;
}

/* Looks for every held-out question among the runs of words of one turn. */
static void check_turn(struct checker *checker, const struct words *words)
{
    for (size_t first = 0; first < words->count; first++) {
        uint64_t hash = 0xcbf29ce484222325u;

        for (size_t n = 1; n <= checker->longest && first + n <= words->count; n++) {
            hash = hash_word(hash, words->word[first + n - 1]);
            for (const struct question *q = checker->slot[hash % SLOTS]; q; q = q->next) {
                if (q->hash == hash && q->words == n && same_words(words, first, q) &&
                    checker->faults++ < 10)
                    fprintf(stderr, "held-out question in the training text: %s\n", q->text);
            }
        }
    }
}

static int read_held_out(struct checker *checker, const char *path)
{
    FILE *file = fopen(path, "r");
    struct words *words = malloc(sizeof *words);
    char line[LINE];
    int rc = file && words ? 0 : -errno;

    while (!rc && fgets(line, sizeof line, file)) {
        const char *question = strchr(line, '\t');
        const char *answer = question ? strchr(question + 1, '\t') : NULL;

        if (!answer) {
            rc = -EINVAL;
            break;
        }
        split(words, question + 1, (size_t)(answer - question - 1));
        rc = add_question(checker, words);
        mark_pairs(checker->held_out, words);
    }
    free(words);
    if (file)
        fclose(file);
    return rc;
}

/* A turn may have several lines; only the last one ends with the token that ends turns. */
static int read_training(struct checker *checker, const char *path)
{
    FILE *file = fopen(path, "r");
    struct words *words = malloc(sizeof *words);
    bool user = false;
    char line[LINE];
    int rc = file && words ? 0 : -errno;

    while (!rc && fgets(line, sizeof line, file)) {
        const char *end = strstr(line, "<|im_end|>");

        if (!strncmp(line, "<|im_start|>", 12)) {
            user = !strncmp(line + 12, "user", 4);
            continue;
        }
        split(words, line, end ? (size_t)(end - line) : strlen(line));
        check_turn(checker, words);
        if (user)
            mark_pairs(checker->trained, words);
        else
            mark_operands(checker->trained, words);
    }
    free(words);
    if (file)
        fclose(file);
    return rc;
}

static void check_pairs(struct checker *checker, struct corpus_check *result)
{
    for (unsigned a = 0; a < NUMBERS; a++) {
        for (unsigned b = a; b < NUMBERS; b++) {
            result->held_out_pairs += checker->held_out[a][b];
            result->trained_pairs += checker->trained[a][b];
            if (checker->held_out[a][b] && checker->trained[a][b] && checker->faults++ < 10)
                fprintf(stderr, "held-out pair in the training text: %u and %u\n", a, b);
        }
    }
}

static void free_questions(struct checker *checker)
{
    for (size_t i = 0; i < SLOTS; i++) {
        for (struct question *q = checker->slot[i], *next; q; q = next) {
            next = q->next;
            free(q->text);
            free(q);
        }
    }
}

int corpus_check(const char *training, const char *held_out, struct corpus_check *result)
{
    struct checker *checker = calloc(1, sizeof *checker);
    int rc;

    memset(result, 0, sizeof *result);
    if (!checker)
        return -ENOMEM;
    rc = read_held_out(checker, held_out);
    if (!rc)
        rc = read_training(checker, training);
    if (!rc)
        check_pairs(checker, result);
    result->questions = checker->questions;
    result->faults = checker->faults;
    free_questions(checker);
    free(checker);
    return rc;
}
