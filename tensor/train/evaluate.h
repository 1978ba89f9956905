/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Held-out scores: the share of questions whose whole answer comes out exactly, by category.
 */
#ifndef TRAIN_EVALUATE_H
#define TRAIN_EVALUATE_H

#include "tensor/train/trainer.h"

enum { TRAIN_CATEGORIES = 64 };

struct train_score {
    char category[32];
    uint32_t right, asked;
};

struct train_scores {
    struct train_score category[TRAIN_CATEGORIES];
    size_t count;
    struct train_score all;
    double loss; /* mean over the answers' tokens */
};

/*
 * Answers every question greedily with `parameters` (those of the run, or rounded ones). An answer
 * is exact if at each of its tokens the likeliest one is the expected one, the end included; that
 * is what greedy generation would say. With `wrong`, prints the questions answered wrongly.
 * Returns 0 or -ENOMEM.
 */
int train_evaluate(struct train_run *run, const float *parameters,
                   const struct train_samples *questions, const struct train_vocab *wrong,
                   struct train_scores *scores);

#endif
