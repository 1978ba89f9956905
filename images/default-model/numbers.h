/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Draws for questions about numbers. Each fills {a}, {b} and the answer; with `held_out` the pair
 * of numbers is one that training never sees, without it one that training may see.
 */
#ifndef NUMBERS_H
#define NUMBERS_H

#include "world.h"

void draw_sum(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_difference(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_bigger(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_smaller(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_count_up(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_count_down(struct drawn *drawn, bool held_out, uint64_t *state);

/* These hold one number only, so that `held_out` has no meaning for them. */
void draw_after(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_before(struct drawn *drawn, bool held_out, uint64_t *state);
void draw_parity(struct drawn *drawn, bool held_out, uint64_t *state);

#endif
