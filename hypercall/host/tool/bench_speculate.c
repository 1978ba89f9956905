// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera bench --lookup`, `--draft`: one sequence written greedily after a prompt of 32 tokens,
// with and without guesses in turn; how many of them were right.
#include "hypercall/host/tool/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 32, MOST_RUNS = 64 };

struct contest {
    const struct tool_model *model;
    struct tool_engine engine, draft;
    struct infer_options options;
    uint32_t made;
    int32_t *text[2]; // without and with guesses
};

struct writing {
    int32_t *ids;
    uint32_t count;
    bool finished;
};

static int on_token(void *ctx, int32_t id)
{
    struct writing *w = ctx;
    w->ids[w->count++] = id;
    return 0;
}

static void on_finish(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    (void)why, (void)prompt, (void)made;
    ((struct writing *)ctx)->finished = true;
}

// Tokens a second after the first one.
static int write_once(struct contest *c, bool guesses, double *speed, struct infer_stats *stats)
{
    int32_t prompt[PROMPT];
    struct infer_engine *e;
    struct infer_options o = c->options;
    struct writing w = {.ids = c->text[guesses]};
    if (!guesses) {
        o.lookup = 0;
        o.draft = NULL;
    }
    for (uint32_t i = 0; i < PROMPT; i++) {
        prompt[i] = (int32_t)((i * 7919u + 13u) % c->model->info.vocabulary);
    }
    struct infer_request r = {.tokens = prompt,
                              .token_count = PROMPT,
                              .max_tokens = c->made,
                              .ignore_end = true,
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .ctx = &w};
    if (infer_open(c->model->model, c->engine.executor, &o, &e) != 0) {
        return tool_fail("the engine could not be made");
    }
    int status = infer_submit(e, &r, NULL) == 0 ? TOOL_OK : tool_fail("the prompt was refused");
    while (!status && !w.finished) {
        infer_step(e);
    }
    infer_get_stats(e, stats);
    infer_close(e);
    *speed = (double)(c->made - 1) * 1e9 / (double)(stats->decode_ns + 1);
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int hold_contest(struct contest *c, uint32_t runs, bool json)
{
    double speed[2][MOST_RUNS], unused;
    struct infer_stats stats[2];
    int status = write_once(c, true, &unused, &stats[1]); // to warm up
    for (uint32_t r = 0; r < 2 * runs && !status; r++) {
        status = write_once(c, r % 2, &speed[r % 2][r / 2], &stats[r % 2]);
    }
    if (!status && memcmp(c->text[0], c->text[1], c->made * sizeof(int32_t)) != 0) {
        status = tool_fail("the text with guesses is another one: this is an error of the engine");
    }
    if (status) {
        return status;
    }
    for (int i = 0; i < 2; i++) {
        qsort(speed[i], runs, sizeof speed[i][0], compare);
    }
    const struct infer_stats *s = &stats[1];
    if (json) {
        printf("{\"rows\":[{\"test\":\"tg%u\",\"threads\":%u,\"tokens_per_s\":%.3f,"
               "\"tokens_per_s_without_guesses\":%.3f,\"steps\":%llu,\"drafted_tokens\":%llu,"
               "\"accepted_tokens\":%llu}]}\n",
               c->made, c->engine.pool->width, speed[1][runs / 2], speed[0][runs / 2],
               (unsigned long long)s->steps, (unsigned long long)s->drafted_tokens,
               (unsigned long long)s->accepted_tokens);
    } else {
        printf("tg%u, %u threads: %.1f tokens/s, without guesses %.1f; %llu of %llu guesses right "
               "(%.1f%%), %llu steps instead of %llu; the same text\n",
               c->made, c->engine.pool->width, speed[1][runs / 2], speed[0][runs / 2],
               (unsigned long long)s->accepted_tokens, (unsigned long long)s->drafted_tokens,
               s->drafted_tokens ? 100.0 * (double)s->accepted_tokens / (double)s->drafted_tokens
                                 : 0,
               (unsigned long long)s->steps, (unsigned long long)stats[0].steps);
    }
    return TOOL_OK;
}

int bench_speculate(const struct tool_model *m, const struct tool_setup *s,
                    const struct bench_guesses *g, uint32_t made, uint32_t runs, bool json)
{
    struct tool_model draft = {0};
    struct tool_setup setup = *s;
    struct contest c = {.model = m, .made = made};
    setup.context = PROMPT + made + 1;
    if (made < 2 || setup.context > m->info.context) {
        return tool_misuse("-n: from 2 to what the context of %u holds", m->info.context);
    }
    int status = tool_start(m, &setup, &c.engine);
    if (status) {
        return status;
    }
    if (g->draft) {
        status = tool_open(g->draft, &draft);
        setup.pool = c.engine.pool;
        setup.trace = NULL;
        if (!status && draft.info.vocabulary != m->info.vocabulary) {
            status = tool_fail("--draft: %s has a vocabulary of %u tokens, the model one of %u",
                               g->draft, draft.info.vocabulary, m->info.vocabulary);
        }
        status = status ? status : tool_start(&draft, &setup, &c.draft);
    }
    c.options = (struct infer_options){.slots = 1,
                                       .queue = 1,
                                       .context = c.engine.context,
                                       .now_ns = tool_now_ns,
                                       .no_sharing = true,
                                       .lookup = g->lookup,
                                       .draft_model = draft.model,
                                       .draft = c.draft.executor,
                                       .draft_tokens = g->draft_tokens};
    c.text[0] = calloc(made, sizeof(int32_t));
    c.text[1] = calloc(made, sizeof(int32_t));
    if (!status && (!c.text[0] || !c.text[1])) {
        status = tool_fail("no memory");
    }
    if (!status) {
        status = hold_contest(&c, runs, json);
    }
    free(c.text[0]);
    free(c.text[1]);
    if (c.draft.executor) {
        tool_stop(&c.draft);
    }
    if (draft.model) {
        tool_close(&draft);
    }
    tool_stop(&c.engine);
    return status;
}
