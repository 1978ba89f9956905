/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * One training run: the network, its optimiser state, and steps over the data by all threads. A
 * step is cut into shards of fixed size whose gradients are added in order, so that the result
 * depends on the seed and the ISA level, but not on the number of threads.
 */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include "tensor/pool.h"
#include "tensor/train/data.h"
#include "tensor/train/net.h"

struct train_options {
    struct train_shape shape;
    uint32_t seed;
    uint32_t steps, warmup;
    uint32_t shards, shard_tokens; /* tokens in a step: their product */
    float rate, decay, clip;
};

struct train_run {
    struct train_options options;
    struct train_net net;
    float *parameters, *m, *v; /* AdamW: the moments of the gradient */
    uint32_t step;             /* steps done */
    struct train_place place;
    struct train_order order;
    struct tn_pool *pool;                /* the caller's */
    struct train_batch *batches;         /* [shards] */
    float **gradients;                   /* [shards] */
    struct train_workspace **workspaces; /* [pool->width] */
    struct train_result *results;        /* [shards] */
};

/* What one step did. */
struct train_report {
    double loss; /* mean over the targets */
    double norm; /* of the gradient, before clipping */
    float rate;
    uint32_t tokens, targets;
};

/* Returns 0, -EINVAL for impossible options, or -ENOMEM. The pool must outlive the run. */
int train_run_open(struct train_run *run, const struct train_options *options,
                   struct tn_pool *pool);
void train_run_close(struct train_run *run);

/*
 * One step. Returns 0, -ENOMEM, -EDOM (the step has no answer to learn from) or -ERANGE (the loss
 * or the gradient is no finite number; the parameters are as they were).
 */
int train_run_step(struct train_run *run, const struct train_samples *samples,
                   struct train_report *report);

/*
 * One step over what the run's batches hold, which train_run_step draws from samples. Returns as
 * train_run_step.
 */
int train_run_learn(struct train_run *run, struct train_report *report);

/*
 * Saves and loads everything a run needs to go on as if it had never stopped. Loading returns
 * -EINVAL if the file is no checkpoint of the same options.
 */
int train_run_save(const struct train_run *run, const char *path);
int train_run_load(struct train_run *run, const char *path);

#endif
