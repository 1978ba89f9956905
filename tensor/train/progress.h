/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Tells a person how training goes: a bar that stays in place on a terminal, lines elsewhere.
 */
#ifndef TRAIN_PROGRESS_H
#define TRAIN_PROGRESS_H

#include "tensor/train/trainer.h"

struct train_progress {
    bool terminal;
    double started, shown; /* seconds */
    uint32_t first_step;   /* done before this process began */
    double loss;           /* smoothed */
    uint64_t tokens;       /* since `started` */
};

void train_progress_begin(struct train_progress *progress, uint32_t steps_done);

/* After each step; shows something at most five times a second (a line: every ten seconds). */
void train_progress_step(struct train_progress *progress, const struct train_run *run,
                         const struct train_report *report);

/* Ends the bar's line, so that other output can follow. */
void train_progress_break(struct train_progress *progress);

#endif
