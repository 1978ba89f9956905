/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Training steps: shards forwards and backwards in parallel, gradients added in order, AdamW.
 */
#include "tensor/train/trainer.h"

#include "tensor/train/ops.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 16384 }; /* parameters in one piece of optimiser work */

/* One step's context for the pieces that threads take. */
struct step {
    struct train_run *run;
    float scale;
    struct train_adam adam;
    double *squares; /* [slices] */
};

int train_run_open(struct train_run *run, const struct train_options *options, struct tn_pool *pool)
{
    size_t n;
    int rc;

    memset(run, 0, sizeof *run);
    if (!options->shards || options->shard_tokens < options->shape.context || !options->steps)
        return -EINVAL;
    run->options = *options;
    rc = train_net_open(&run->net, &options->shape);
    if (rc)
        return rc;
    n = run->net.parameters;
    run->place.seed = options->seed;
    run->parameters = calloc(n, sizeof(float));
    run->m = calloc(n, sizeof(float));
    run->v = calloc(n, sizeof(float));
    run->pool = pool;
    run->batches = calloc(options->shards, sizeof *run->batches);
    run->gradients = calloc(options->shards, sizeof *run->gradients);
    run->results = calloc(options->shards, sizeof *run->results);
    run->workspaces = calloc(pool->width, sizeof(void *));
    rc = -ENOMEM;
    if (!run->parameters || !run->m || !run->v || !run->batches || !run->gradients ||
        !run->results || !run->workspaces)
        goto failed;
    for (uint32_t i = 0; i < options->shards; i++) {
        run->gradients[i] = calloc(n, sizeof(float));
        if (!run->gradients[i] || train_batch_new(&run->batches[i], options->shard_tokens))
            goto failed;
    }
    for (unsigned i = 0; i < pool->width; i++) {
        run->workspaces[i] = train_workspace_new(&run->net, options->shard_tokens);
        if (!run->workspaces[i])
            goto failed;
    }
    train_net_initialise(&run->net, options->seed, run->parameters);
    return 0;
failed:
    train_run_close(run);
    return rc;
}

void train_run_close(struct train_run *run)
{
    for (unsigned i = 0; run->workspaces && i < run->pool->width; i++)
        train_workspace_free(run->workspaces[i]);
    for (uint32_t i = 0; i < run->options.shards; i++) {
        if (run->gradients)
            free(run->gradients[i]);
        if (run->batches)
            train_batch_free(&run->batches[i]);
    }
    free(run->workspaces);
    free(run->gradients);
    free(run->batches);
    free(run->results);
    free(run->order.sample);
    free(run->parameters);
    free(run->m);
    free(run->v);
    train_net_close(&run->net);
    memset(run, 0, sizeof *run);
}

static void run_shard(void *context, size_t shard, unsigned thread)
{
    struct step *step = context;
    struct train_run *run = step->run;

    memset(run->gradients[shard], 0, run->net.parameters * sizeof(float));
    run->results[shard] = (struct train_result){0, 0};
    if (!run->batches[shard].tokens)
        return;
    run->results[shard] =
        train_net_run(&run->net, run->parameters, &run->batches[shard], step->scale,
                      run->gradients[shard], NULL, run->workspaces[thread]);
}

static size_t slice_size(const struct train_run *run, size_t first)
{
    return run->net.parameters - first < SLICE ? run->net.parameters - first : SLICE;
}

/* Adds the shards' gradients into the first one's, slice by slice. */
static void add_gradients(void *context, size_t slice, unsigned thread)
{
    struct step *step = context;
    struct train_run *run = step->run;
    const size_t first = slice * SLICE, size = slice_size(run, first);

    (void)thread;
    for (uint32_t i = 1; i < run->options.shards; i++)
        train_add(size, run->gradients[i] + first, run->gradients[0] + first);
    step->squares[slice] = train_sum_squares(size, run->gradients[0] + first);
}

/* Matrices decay towards zero, gains do not. */
static void update_tensor(void *context, size_t index, unsigned thread)
{
    const struct step *step = context;
    struct train_run *run = step->run;
    const struct train_tensor *tensor = &run->net.tensors[index];
    struct train_adam adam = step->adam;
    const size_t at = tensor->offset;

    (void)thread;
    if (tensor->rows == 1)
        adam.decay = 0;
    train_adamw(tensor->rows * tensor->columns, &adam, run->gradients[0] + at, run->m + at,
                run->v + at, run->parameters + at);
}

/* Rises in a straight line, then falls along a cosine to a fiftieth. */
static float rate_at(const struct train_options *options, uint32_t step)
{
    float done;

    if (step < options->warmup)
        return options->rate * (float)(step + 1) / (float)options->warmup;
    done = (float)(step - options->warmup) / (float)(options->steps - options->warmup);
    return options->rate * (0.02f + 0.98f * 0.5f * (1.0f + cosf(3.14159265f * fminf(done, 1))));
}

int train_run_learn(struct train_run *run, struct train_report *report)
{
    const size_t slices = (run->net.parameters + SLICE - 1) / SLICE;
    const struct train_options *options = &run->options;
    struct step step = {.run = run};
    double squares = 0;
    uint32_t targets = 0;

    step.squares = malloc(slices * sizeof *step.squares);
    if (!step.squares)
        return -ENOMEM;
    memset(report, 0, sizeof *report);
    for (uint32_t i = 0; i < options->shards; i++) {
        report->tokens += (uint32_t)run->batches[i].tokens;
        for (size_t t = 0; t < run->batches[i].tokens; t++)
            targets += run->batches[i].target[t] >= 0;
    }
    if (!targets) { // no answer to learn from in a whole step
        free(step.squares);
        return -EDOM;
    }
    step.scale = 1.0f / (float)targets;
    run->pool->run(run->pool, run_shard, &step, options->shards);
    run->pool->run(run->pool, add_gradients, &step, slices);
    for (size_t i = 0; i < slices; i++)
        squares += step.squares[i];
    for (uint32_t i = 0; i < options->shards; i++)
        report->loss += run->results[i].loss;
    free(step.squares);

    report->loss /= targets;
    report->targets = targets;
    report->norm = sqrt(squares);
    report->rate = rate_at(options, run->step);
    if (!isfinite(report->loss) || !isfinite(report->norm))
        return -ERANGE; // before the update: the last checkpoint stays good
    run->step++;
    step.adam = (struct train_adam){
        .rate = report->rate,
        .beta1 = 0.9f,
        .beta2 = 0.99f,
        .epsilon = 1e-8f,
        .decay = options->decay,
        .correction1 = (float)(1.0 - pow(0.9, run->step)),
        .correction2 = (float)(1.0 - pow(0.99, run->step)),
        .clip = report->norm > (double)options->clip ? options->clip / (float)report->norm : 1.0f,
    };
    run->pool->run(run->pool, update_tensor, &step, run->net.tensor_count);
    return 0;
}

int train_run_step(struct train_run *run, const struct train_samples *samples,
                   struct train_report *report)
{
    for (uint32_t i = 0; i < run->options.shards; i++) {
        const int rc = train_batch_draw(&run->batches[i], run->options.shard_tokens, samples,
                                        &run->order, &run->place);

        if (rc)
            return rc;
    }
    return train_run_learn(run, report);
}
