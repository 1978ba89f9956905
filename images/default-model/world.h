/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The small world that the default model knows: its facts and the words questions are asked in.
 * A kind of question is a table of facts (or a rule that draws numbers), an answer, and wordings.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

/* One fact: up to three texts, named {a}, {b} and {c} in wordings and answers. */
struct fact {
    const char *text[3];
};

/* A fact that was drawn, ready to be put into a wording. */
struct drawn {
    char text[3][64];
    char answer[256]; /* the answer when the kind has no answer text of its own */
};

/*
 * One kind of question. Facts come from `facts` (ended by an empty entry) or from `draw`, which is
 * asked for a held-out pair of numbers or for one that training may see. Wordings are lists ended
 * by NULL; those in `held_out` never occur in training. {A} is {a} with a capital letter.
 */
struct kind {
    const char *category;
    unsigned weight; /* how often the kind occurs, relative to the others */
    const struct fact *facts;
    void (*draw)(struct drawn *drawn, bool held_out, uint64_t *state);
    bool pairs; /* the question holds two numbers, so pairs are held out too */
    const char *answer;
    const char *const *trained;
    const char *const *held_out;
};

extern const struct kind world_kinds[];
extern const unsigned world_kind_count;

/* System messages, openings that may stand before a question, and first names. */
extern const char *const world_systems[];
extern const unsigned world_system_count;
extern const char *const world_openings[];
extern const unsigned world_opening_count;
extern const struct fact world_names[];
extern const unsigned world_name_count;

/* Whether the pair of numbers is kept out of training, whatever their order. */
bool world_pair_is_held_out(unsigned a, unsigned b);

/* The next number of a splitmix64 sequence, and one below `limit`. */
uint64_t world_random(uint64_t *state);
unsigned world_below(uint64_t *state, unsigned limit);

#endif
