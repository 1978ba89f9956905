/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The numbers of the small world: which pairs are held out, and the draws behind questions about
 * sums, differences, comparison (0 to 99) and counting (0 to 1000).
 */
#include "numbers.h"

#include <stdio.h>

uint64_t world_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

unsigned world_below(uint64_t *state, unsigned limit)
{
    return (unsigned)((world_random(state) >> 32) * limit >> 32);
}

/*
 * What the answers to all other sums rest on and show as a step: two digits, or whole tens and a
 * number below 20.
 */
static bool is_elementary(unsigned a, unsigned b)
{
    return (a < 10 && b < 10) || (a % 10 == 0 && b < 20) || (b % 10 == 0 && a < 20);
}

bool world_pair_is_held_out(unsigned a, unsigned b)
{
    uint64_t state = a < b ? a * 1000u + b : b * 1000u + a;

    return !is_elementary(a, b) && world_random(&state) % 1000 < 107;
}

/* Puts two numbers into {a} and {b}. */
static void put_pair(struct drawn *drawn, unsigned a, unsigned b)
{
    snprintf(drawn->text[0], sizeof drawn->text[0], "%u", a);
    snprintf(drawn->text[1], sizeof drawn->text[1], "%u", b);
}

void draw_sum(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned a, b;

    do {
        a = world_below(state, 100);
        b = world_below(state, 100);
        if (world_below(state, 4) == 0) { /* small numbers are few: let them occur often enough */
            a %= 20;
            b %= 20;
        }
    } while (a + b > 99 || world_pair_is_held_out(a, b) != held_out);
    put_pair(drawn, a, b);
    if (a < 10 && b < 10)
        snprintf(drawn->answer, sizeof drawn->answer, "%u plus %u is %u.", a, b, a + b);
    else
        snprintf(drawn->answer, sizeof drawn->answer, "%u plus %u is %u + %u = %u.", a, b,
                 a / 10 * 10 + b / 10 * 10, a % 10 + b % 10, a + b);
}

void draw_difference(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned a, b;

    do {
        a = world_below(state, 100);
        b = world_below(state, 100);
        if (world_below(state, 4) == 0) {
            a %= 20;
            b %= 20;
        }
    } while (a < b || world_pair_is_held_out(a, b) != held_out);
    put_pair(drawn, a, b);
    if (a < 10)
        snprintf(drawn->answer, sizeof drawn->answer, "%u minus %u is %u.", a, b, a - b);
    else
        snprintf(drawn->answer, sizeof drawn->answer, "%u minus %u is %u %c %u = %u.", a, b,
                 a / 10 * 10 - b / 10 * 10, a % 10 < b % 10 ? '-' : '+',
                 a % 10 < b % 10 ? b % 10 - a % 10 : a % 10 - b % 10, a - b);
}

/* Two different numbers; every other time close together, where comparing is hardest. */
static void draw_two(unsigned *a, unsigned *b, bool held_out, uint64_t *state)
{
    do {
        *a = world_below(state, 100);
        *b =
            world_below(state, 2) ? world_below(state, 100) : *a / 10 * 10 + world_below(state, 10);
    } while (*a == *b || world_pair_is_held_out(*a, *b) != held_out);
}

/* The answer compares digits from the left: "Of 56 and 52: 5 = 5, 6 > 2, so 56 is bigger." */
static void put_comparison(struct drawn *drawn, unsigned a, unsigned b, bool bigger)
{
    char tens[32] = "", ones[32] = "";

    if (a >= 10 || b >= 10)
        snprintf(tens, sizeof tens, "%u %c %u, ", a / 10,
                 "<=>"[1 + (a / 10 > b / 10) - (a / 10 < b / 10)], b / 10);
    if (a / 10 == b / 10)
        snprintf(ones, sizeof ones, "%u %c %u, ", a % 10, a < b ? '<' : '>', b % 10);
    put_pair(drawn, a, b);
    snprintf(drawn->answer, sizeof drawn->answer, "Of %u and %u: %s%sso %u is %s.", a, b, tens,
             ones, bigger == (a > b) ? a : b, bigger ? "bigger" : "smaller");
}

void draw_bigger(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned a, b;

    draw_two(&a, &b, held_out, state);
    put_comparison(drawn, a, b, true);
}

void draw_smaller(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned a, b;

    draw_two(&a, &b, held_out, state);
    put_comparison(drawn, a, b, false);
}

/* Mostly below 100, the rest below 1000. */
static unsigned draw_number(uint64_t *state)
{
    return world_below(state, 5) < 3 ? world_below(state, 100) : world_below(state, 1000);
}

/* Writes the numbers from `from` to `to`, up or down, with commas between them. */
static void put_count(struct drawn *drawn, unsigned from, unsigned to)
{
    size_t at = (size_t)snprintf(drawn->answer, sizeof drawn->answer, "From %u %sto %u: ", from,
                                 from < to ? "" : "down ", to);

    for (unsigned i = from;; i = from < to ? i + 1 : i - 1) {
        at += (size_t)snprintf(drawn->answer + at, sizeof drawn->answer - at, "%u%s", i,
                               i == to ? "." : ", ");
        if (i == to)
            return;
    }
}

/* Two numbers, the second 1 to 9 above the first. */
static void draw_range(unsigned *low, unsigned *high, bool held_out, uint64_t *state)
{
    do {
        *low = draw_number(state);
        *high = *low + 1 + world_below(state, 9);
    } while (*high > 999 || world_pair_is_held_out(*low, *high) != held_out);
}

void draw_count_up(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned low, high;

    draw_range(&low, &high, held_out, state);
    put_pair(drawn, low, high);
    put_count(drawn, low, high);
}

void draw_count_down(struct drawn *drawn, bool held_out, uint64_t *state)
{
    unsigned low, high;

    draw_range(&low, &high, held_out, state);
    put_pair(drawn, low, high);
    put_count(drawn, high, low);
}

void draw_after(struct drawn *drawn, bool held_out, uint64_t *state)
{
    const unsigned n = draw_number(state);

    (void)held_out;
    put_pair(drawn, n, n + 1);
    snprintf(drawn->answer, sizeof drawn->answer, "%u comes after %u.", n + 1, n);
}

void draw_before(struct drawn *drawn, bool held_out, uint64_t *state)
{
    const unsigned n = draw_number(state) + 1;

    (void)held_out;
    put_pair(drawn, n, n - 1);
    snprintf(drawn->answer, sizeof drawn->answer, "%u comes before %u.", n - 1, n);
}

void draw_parity(struct drawn *drawn, bool held_out, uint64_t *state)
{
    const unsigned n = draw_number(state);

    (void)held_out;
    put_pair(drawn, n, 0);
    snprintf(drawn->answer, sizeof drawn->answer, "%u is %s.", n, n % 2 ? "odd" : "even");
}
