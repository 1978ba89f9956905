// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A pairing heap of timers (pairing.h).
#include "libos/sched/pairing.h"

static struct sched_timer *child_of(struct sched_timer *t)
{
    return t->priv[0];
}
static struct sched_timer *next_of(struct sched_timer *t)
{
    return t->priv[1];
}

// Both are roots; the earlier one gets the other as its first child.
static struct sched_timer *meld(struct sched_timer *a, struct sched_timer *b)
{
    if (!a || !b) {
        return a ? a : b;
    }
    if (b->deadline_ns < a->deadline_ns) {
        struct sched_timer *t = a;
        a = b;
        b = t;
    }
    b->priv[1] = a->priv[0];
    b->priv[2] = a;
    if (b->priv[1]) {
        next_of(b)->priv[2] = b;
    }
    a->priv[0] = b;
    return a;
}

// Melds a list of siblings: pairs from the left, then all from the right.
static struct sched_timer *meld_list(struct sched_timer *first)
{
    struct sched_timer *pairs = NULL;
    while (first) {
        struct sched_timer *a = first, *b = next_of(a);
        first = b ? next_of(b) : NULL;
        a->priv[1] = a->priv[2] = NULL;
        if (b) {
            b->priv[1] = b->priv[2] = NULL;
        }
        a = meld(a, b);
        a->priv[1] = pairs;
        pairs = a;
    }
    struct sched_timer *root = NULL;
    while (pairs) {
        struct sched_timer *next = next_of(pairs);
        pairs->priv[1] = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

struct sched_timer *pairing_insert(struct sched_timer *root, struct sched_timer *t)
{
    t->priv[0] = t->priv[1] = t->priv[2] = NULL;
    return meld(root, t);
}

struct sched_timer *pairing_remove(struct sched_timer *root, struct sched_timer *t)
{
    struct sched_timer *below = meld_list(child_of(t));
    if (t == root) {
        root = below;
    } else {
        struct sched_timer *left = t->priv[2];
        if (child_of(left) == t) {
            left->priv[0] = t->priv[1];
        } else {
            left->priv[1] = t->priv[1];
        }
        if (t->priv[1]) {
            next_of(t)->priv[2] = left;
        }
        root = meld(root, below);
    }
    t->priv[0] = t->priv[1] = t->priv[2] = NULL;
    return root;
}
