/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Tells a person how training goes.
 */
#include "tensor/train/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void train_progress_begin(struct train_progress *progress, uint32_t steps_done)
{
    *progress = (struct train_progress){
        .terminal = isatty(STDOUT_FILENO) == 1,
        .started = now(),
        .first_step = steps_done,
    };
}

static void show(const struct train_progress *progress, const struct train_run *run,
                 const struct train_report *report)
{
    enum { CELLS = 30 };
    const uint32_t steps = run->options.steps;
    const double spent = progress->shown - progress->started;
    const double left = spent / (run->step - progress->first_step) * (steps - run->step);
    char bar[CELLS + 1];

    for (unsigned i = 0; i < CELLS; i++)
        bar[i] = (uint64_t)i * steps < (uint64_t)run->step * CELLS ? '#' : '.';
    bar[CELLS] = 0;
    printf("%s%s%sstep %u/%u  loss %.4f  rate %.5f  norm %.2f  %.1fk tokens/s  %u:%02u:%02u left%s",
           progress->terminal ? "\r[" : "", progress->terminal ? bar : "",
           progress->terminal ? "] " : "", run->step, steps, progress->loss, (double)report->rate,
           report->norm, (double)progress->tokens / spent / 1000, (unsigned)left / 3600,
           (unsigned)left / 60 % 60, (unsigned)left % 60, progress->terminal ? "   " : "\n");
    fflush(stdout);
}

void train_progress_step(struct train_progress *progress, const struct train_run *run,
                         const struct train_report *report)
{
    const double time = now();
    const bool first = !progress->tokens;

    progress->tokens += report->tokens;
    progress->loss = first ? report->loss : 0.95 * progress->loss + 0.05 * report->loss;
    if (time - progress->shown < (progress->terminal ? 0.2 : 10.0) &&
        run->step < run->options.steps)
        return;
    progress->shown = time;
    show(progress, run, report);
}

void train_progress_break(struct train_progress *progress)
{
    if (progress->terminal && progress->tokens)
        putchar('\n');
}
