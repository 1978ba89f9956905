// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One run of a test of `tessera bench`, and the least work it can take.
#include "hypercall/host/tool/bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

int bench_start(const struct tool_model *m, const struct tool_setup *s, struct bench_engine *b)
{
    *b = (struct bench_engine){.model = m};
    int status = tool_start(m, s, &b->engine);
    if (status) {
        return status;
    }
    size_t sequences = b->engine.sequences, context = b->engine.context;
    b->tokens = malloc(sequences * context * sizeof *b->tokens);
    b->logits = malloc(sequences * m->info.vocabulary * sizeof *b->logits);
    b->step = calloc(sequences, sizeof *b->step);
    if (!b->tokens || !b->logits || !b->step) {
        bench_stop(b);
        return tool_fail("no memory");
    }
    for (size_t i = 0; i < sequences * context; i++) {
        b->tokens[i] = (int32_t)((i * 7919u + 13u) % m->info.vocabulary);
    }
    return TOOL_OK;
}

void bench_stop(struct bench_engine *b)
{
    free(b->tokens);
    free(b->logits);
    free(b->step);
    tool_stop(&b->engine);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Tokens [at, at + n) of each sequence in one step; `last`: the logits of the last one are wanted.
static int step(struct bench_engine *b, const struct bench_test *t, uint32_t at, uint32_t n,
                bool last)
{
    const struct tool_engine *e = &b->engine;
    for (uint32_t i = 0; i < t->sequences; i++) {
        b->step[i] = (struct tn_step_sequence){
            .tokens = b->tokens + (size_t)i * e->context + at,
            .token_count = n,
            .position = at,
            .kv_pages = e->page_table + (size_t)i * e->pages_each,
            .kv_page_count = e->pages_each,
            .logits_from = last ? n - 1 : n,
            .logits = b->logits + (size_t)i * b->model->info.vocabulary,
        };
    }
    if (tn_step(e->executor, b->step, t->sequences) != 0) {
        return tool_fail("the executor refused a step of %u sequences with %u tokens each",
                         t->sequences, n);
    }
    return TOOL_OK;
}

int bench_run(struct bench_engine *b, const struct bench_test *t, struct bench_time *out)
{
    uint32_t most = t->prompt ? b->engine.max_tokens / t->sequences : 1;
    int status = TOOL_OK;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t at = 0; at < t->tokens && !status;) {
        uint32_t n = t->tokens - at < most ? t->tokens - at : most;
        status = step(b, t, at, n, !t->prompt || at + n == t->tokens);
        at += n;
    }
    out->wall = seconds(CLOCK_MONOTONIC) - wall;
    out->cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return status;
}

// ---- the least work ----------------------------------------------------------------------------

static bool contains(const struct gguf_string *name, const char *word)
{
    return memmem(name->data, name->bytes, word, strlen(word)) != NULL;
}

struct bench_work bench_work(const struct tool_model *m, const struct bench_test *t)
{
    const struct gguf *g = tn_model_gguf(m->model);
    const struct tn_model_info *info = &m->info;
    bool own_output = gguf_find(g, "output.weight") != NULL;
    double tokens = (double)t->tokens * t->sequences, step_tokens = t->prompt ? 512 : t->sequences;
    double outputs = t->prompt ? t->sequences : tokens;
    struct bench_work w = {0};
    for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        double values = (double)x->shape[0] * (double)x->shape[1] * (double)x->shape[2];
        bool table = contains(&x->name, "token_embd.weight");
        bool head =
            own_output ? contains(&x->name, "output.weight") && !contains(&x->name, "attn") : table;
        double read = 1, used = 1;
        if (contains(&x->name, "position_embd") || contains(&x->name, "token_types") ||
            (table && !head)) {
            continue; // looked up by rows
        }
        if (contains(&x->name, "_exps") && info->experts) {
            used = (double)info->experts_used / info->experts;
            read = used * step_tokens < 1 ? used * step_tokens : 1;
        }
        w.step_weight_bytes += (double)x->bytes * read;
        if (x->dims >= 2) {
            w.multiply_adds += values * used * (head ? outputs : tokens);
        }
    }
    double pairs = (double)t->tokens * (t->tokens + 1.0) / 2 * t->sequences; // causal
    w.multiply_adds += pairs * 2.0 * info->layers * info->heads * info->head_dim;
    return w;
}
