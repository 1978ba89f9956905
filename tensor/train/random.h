/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The random numbers of training: a splitmix64 sequence, so that a seed fixes every one of them.
 */
#ifndef TRAIN_RANDOM_H
#define TRAIN_RANDOM_H

#include <math.h>
#include <stdint.h>

static inline uint64_t train_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Below `limit`, which is at least 1 and less than 2^32. */
static inline uint32_t train_random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((train_random(state) >> 32) * limit >> 32);
}

/* Normally distributed, mean 0 and deviation 1 (Box and Muller). */
static inline double train_random_normal(uint64_t *state)
{
    const double u = ((double)(train_random(state) >> 11) + 1.0) / 9007199254740993.0;
    const double v = (double)(train_random(state) >> 11) / 9007199254740992.0;

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

#endif
