/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Writes the corpus of the default model: conversations about the small world for training, and
 * held-out questions with their exact answers. The same seed gives the same files.
 */
#include "corpus.h"

#include "world.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 512 };

struct question {
    const struct kind *kind;
    char text[TEXT];
    char answer[TEXT];
};

/* Writes `pattern` with {a}, {A}, {b} and {c} replaced by the drawn texts. */
static void fill(char *out, const char *pattern, const struct drawn *drawn)
{
    size_t at = 0;

    for (const char *p = pattern; *p; p++) {
        if (p[0] == '{' && p[1] && p[2] == '}') {
            const char *text = drawn->text[tolower((unsigned char)p[1]) - 'a'];
            size_t start = at;

            at += (size_t)snprintf(out + at, TEXT - at, "%s", text);
            if (isupper((unsigned char)p[1]))
                out[start] = (char)toupper((unsigned char)out[start]);
            p += 2;
        } else {
            out[at++] = *p;
        }
    }
    out[at] = 0;
}

static unsigned count_words(const char *const *list)
{
    unsigned n = 0;

    while (list[n])
        n++;
    return n;
}

static unsigned count_facts(const struct fact *facts)
{
    unsigned n = 0;

    while (facts[n].text[0])
        n++;
    return n;
}

static const struct kind *draw_kind(uint64_t *state)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < world_kind_count; i++)
        total += world_kinds[i].weight;
    at = world_below(state, total);
    for (unsigned i = 0;; i++) {
        if (at < world_kinds[i].weight)
            return &world_kinds[i];
        at -= world_kinds[i].weight;
    }
}

static void copy_fact(struct drawn *drawn, const struct fact *fact)
{
    for (int i = 0; i < 3; i++)
        snprintf(drawn->text[i], sizeof drawn->text[i], "%s", fact->text[i] ? fact->text[i] : "");
}

/* Asks about `drawn` in the given wording. */
static void ask(struct question *question, const struct kind *kind, const struct drawn *drawn,
                const char *wording)
{
    question->kind = kind;
    fill(question->text, wording, drawn);
    if (kind->answer)
        fill(question->answer, kind->answer, drawn);
    else
        snprintf(question->answer, TEXT, "%s", drawn->answer);
}

static void draw_question(struct question *question, uint64_t *state)
{
    const struct kind *kind = draw_kind(state);
    struct drawn drawn;

    if (kind->draw)
        kind->draw(&drawn, false, state);
    else
        copy_fact(&drawn, &kind->facts[world_below(state, count_facts(kind->facts))]);
    ask(question, kind, &drawn, kind->trained[world_below(state, count_words(kind->trained))]);
}

/* People write in many ways: an opening before the question, no capitals, no full stop. */
static void roughen(char *text, uint64_t *state)
{
    char copy[TEXT];
    size_t length;

    if (world_below(state, 100) < 20) {
        snprintf(copy, sizeof copy, "%s%s", world_openings[world_below(state, world_opening_count)],
                 text);
        memcpy(text, copy, TEXT);
    }
    if (world_below(state, 100) < 15) {
        for (char *p = text; *p; p++)
            *p = (char)tolower((unsigned char)*p);
    }
    length = strlen(text);
    if (world_below(state, 100) < 12 && length && ispunct((unsigned char)text[length - 1]) &&
        text[length - 1] != ')')
        text[length - 1] = 0;
}

static void put_turn(FILE *file, const char *role, const char *text)
{
    fprintf(file, "<|im_start|>%s\n%s<|im_end|>\n", role, text);
}

/* One conversation: most have one question, some up to twelve. An empty line ends it. */
static void put_conversation(FILE *file, uint64_t *state)
{
    struct question question;
    unsigned turns = 1;
    const char *name = NULL;
    char text[TEXT];

    if (world_below(state, 100) < 30)
        turns = 2 + world_below(state, 4);
    else if (world_below(state, 100) < 4)
        turns = 6 + world_below(state, 7);
    if (world_below(state, 100) < 15)
        put_turn(file, "system", world_systems[world_below(state, world_system_count)]);
    if (turns > 1 && world_below(state, 100) < 12)
        name = world_names[world_below(state, world_name_count)].text[0];
    if (name) {
        static const char *const say[] = {"My name is %s.", "I am %s.", "Hello, I am %s.",
                                          "People call me %s.", "Hi, my name is %s."};

        snprintf(text, sizeof text, say[world_below(state, 5)], name);
        put_turn(file, "user", text);
        snprintf(text, sizeof text, "Hello %s, nice to meet you.", name);
        put_turn(file, "assistant", text);
    }
    for (unsigned i = 0; i < turns; i++) {
        if (name && i + 1 == turns) {
            static const char *const recall[] = {"What is my name?", "Do you know my name?",
                                                 "Who am I?", "What am I called?", "Say my name."};

            snprintf(question.text, TEXT, "%s", recall[world_below(state, 5)]);
            snprintf(question.answer, TEXT, "Your name is %s.", name);
        } else {
            draw_question(&question, state);
        }
        roughen(question.text, state);
        put_turn(file, "user", question.text);
        put_turn(file, "assistant", question.answer);
    }
    fputc('\n', file);
}

static void put_held_out(FILE *file, const struct question *question)
{
    fprintf(file, "%s\t%s\t%s\n", question->kind->category, question->text, question->answer);
}

static bool is_among(const char *text, char (*texts)[TEXT], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(text, texts[i]))
            return true;
    }
    return false;
}

/*
 * Held-out questions of one kind, each once. Kinds about two numbers use pairs that training never
 * sees, in half of the questions in wordings that it never sees either; the others use unseen
 * wordings.
 */
static int put_kind(FILE *file, const struct kind *kind, unsigned wanted, uint64_t *state)
{
    unsigned held_out = count_words(kind->held_out), trained = count_words(kind->trained);
    struct question question;
    struct drawn drawn;

    if (kind->draw) {
        char(*asked)[TEXT] = calloc(wanted, sizeof *asked);
        unsigned count = 0;

        if (!asked)
            return -ENOMEM;
        for (unsigned tries = 0; count < wanted && tries < 20 * wanted; tries++) {
            bool new_words = !kind->pairs || count % 2;

            kind->draw(&drawn, true, state);
            ask(&question, kind, &drawn,
                new_words ? kind->held_out[world_below(state, held_out)]
                          : kind->trained[world_below(state, trained)]);
            if (is_among(question.text, asked, count))
                continue;
            memcpy(asked[count++], question.text, TEXT);
            put_held_out(file, &question);
        }
        free(asked);
        return 0;
    }
    for (const struct fact *fact = kind->facts; fact->text[0]; fact++) {
        copy_fact(&drawn, fact);
        for (unsigned w = 0; w < held_out; w++) {
            ask(&question, kind, &drawn, kind->held_out[w]);
            put_held_out(file, &question);
        }
    }
    return 0;
}

int corpus_write(const char *folder, unsigned conversations, uint64_t seed)
{
    char path[4096];
    uint64_t state = seed;
    FILE *file;

    snprintf(path, sizeof path, "%s/train.txt", folder);
    file = fopen(path, "w");
    if (!file)
        goto failed;
    for (unsigned i = 0; i < conversations; i++)
        put_conversation(file, &state);
    if (fclose(file))
        goto failed;

    snprintf(path, sizeof path, "%s/held-out.tsv", folder);
    file = fopen(path, "w");
    if (!file)
        goto failed;
    state = ~seed;
    for (unsigned i = 0; i < world_kind_count; i++) {
        if (put_kind(file, &world_kinds[i], world_kinds[i].weight * 2, &state)) {
            errno = ENOMEM;
            fclose(file);
            goto failed;
        }
    }
    if (fclose(file))
        goto failed;
    return 0;
failed:
    fprintf(stderr, "corpus: cannot write %s: %s\n", path, strerror(errno));
    return errno ? -errno : -EIO;
}
