/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Held-out scores. All answers are checked in batches: the network sees question and expected
 * answer, and an answer is right where every prediction agrees with it.
 */
#include "tensor/train/evaluate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct round {
    struct train_run *run;
    const float *parameters;
    uint32_t **best; /* [shards] [shard_tokens] */
};

static void answer(void *context, size_t shard, unsigned thread)
{
    struct round *round = context;
    struct train_run *run = round->run;

    run->results[shard] = train_net_run(&run->net, round->parameters, &run->batches[shard], 1, NULL,
                                        round->best[shard], run->workspaces[thread]);
}

static struct train_score *score_of(struct train_scores *scores, const char *category)
{
    for (size_t i = 0; i < scores->count; i++) {
        if (!strcmp(scores->category[i].category, category))
            return &scores->category[i];
    }
    if (scores->count == TRAIN_CATEGORIES)
        return &scores->category[TRAIN_CATEGORIES - 1];
    snprintf(scores->category[scores->count].category, sizeof scores->category[0].category, "%s",
             category);
    return &scores->category[scores->count++];
}

static void print_wrong(const struct train_batch *batch, size_t sequence, const uint32_t *best,
                        const struct train_vocab *vocab)
{
    for (uint32_t i = batch->starts[sequence]; i < batch->starts[sequence + 1]; i++) {
        printf("%s", vocab->text[batch->token[i]]);
        if (batch->target[i] >= 0 && best[i] != (uint32_t)batch->target[i])
            printf("[%s]", vocab->text[best[i]]);
    }
    putchar('\n');
}

static void count_answers(const struct train_batch *batch, const uint32_t *best,
                          const struct train_samples *questions, size_t first,
                          const struct train_vocab *wrong, struct train_scores *scores)
{
    for (size_t s = 0; s < batch->sequences; s++) {
        struct train_score *score = score_of(scores, questions->category[first + s]);
        bool right = true;

        for (uint32_t i = batch->starts[s]; i < batch->starts[s + 1]; i++) {
            if (batch->target[i] >= 0 && best[i] != (uint32_t)batch->target[i])
                right = false;
        }
        if (!right && wrong)
            print_wrong(batch, s, best, wrong);
        score->asked++;
        score->right += right;
        scores->all.asked++;
        scores->all.right += right;
    }
}

int train_evaluate(struct train_run *run, const float *parameters,
                   const struct train_samples *questions, const struct train_vocab *wrong,
                   struct train_scores *scores)
{
    const uint32_t shards = run->options.shards, capacity = run->options.shard_tokens;
    struct round round = {run, parameters, calloc(shards, sizeof(void *))};
    size_t *firsts = malloc((shards + 1) * sizeof *firsts), targets = 0;
    int rc = round.best && firsts ? 0 : -ENOMEM;

    memset(scores, 0, sizeof *scores);
    for (uint32_t i = 0; !rc && i < shards; i++) {
        round.best[i] = malloc(capacity * sizeof(uint32_t));
        rc = round.best[i] ? 0 : -ENOMEM;
    }
    for (size_t next = 0; !rc && next < questions->count;) {
        uint32_t used = 0;

        for (; used < shards && next < questions->count; used++) {
            firsts[used] = next;
            next += train_batch_take(&run->batches[used], capacity, questions, next);
        }
        run->pool->run(run->pool, answer, &round, used);
        for (uint32_t i = 0; i < used; i++) {
            scores->loss += run->results[i].loss;
            targets += run->results[i].targets;
            count_answers(&run->batches[i], round.best[i], questions, firsts[i], wrong, scores);
        }
    }
    if (targets)
        scores->loss /= (double)targets;
    for (uint32_t i = 0; round.best && i < shards; i++)
        free(round.best[i]);
    free(round.best);
    free(firsts);
    return rc;
}
