// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a runner that computes with an executor of its own on the engine's KV memory, a token
// of one run a look, and that can be told to misbehave.
#ifndef TENSOR_FAKE_RUNNER_H
#define TENSOR_FAKE_RUNNER_H

#include "tensor/infer/infer_private.h"
#include "tensor/infer/test_engine.h"

#include <errno.h>

enum { FAKE_RUNS = 16, FAKE_TOKENS = 512, FAKE_EVENTS = 256 };

struct fake_run {
    enum { FAKE_IDLE, FAKE_RUNS_NOW, FAKE_LOST } state;
    bool cancelled;
    int32_t tokens[FAKE_TOKENS]; // from the history's beginning
    uint32_t history, count, read, position, most, made, stop_count;
    uint32_t pages[FAKE_TOKENS / TN_KV_PAGE_TOKENS], page_count;
    struct tn_sampling sampling;
    struct tn_rng rng;
    int32_t stops[4];
    float *logits;
};

struct fake_runner {
    struct infer_runner runner;
    const struct tn_model *model;
    struct tn_executor *executor;
    uint8_t *kv;
    size_t page_bytes;
    uint32_t page_total, vocabulary;
    float *row;
    struct fake_run runs[FAKE_RUNS];
    struct infer_event events[FAKE_EVENTS];
    uint32_t head, tail;
    bool down;         // start says -ENOLINK; what ran is lost
    bool soon;         // start says -EAGAIN
    bool scribble;     // lost runs write on, to the positions that they were given
    int refuse;        // that many runs end as REFUSED in the middle, then as many as BUSY
    uint32_t most_now; // runs above that many end as BUSY, 0: no limit
    uint32_t started, tokens, turn, looks, busy;
};

static inline void fake_tell(struct fake_runner *f, uint32_t run, enum infer_event_kind kind,
                             int32_t token)
{
    assert_true(f->tail - f->head < FAKE_EVENTS);
    f->events[f->tail++ % FAKE_EVENTS] = (struct infer_event){run, kind, token};
}

static inline int fake_start(void *ctx, uint32_t i, const struct infer_run *r)
{
    struct fake_runner *f = ctx;
    struct fake_run *run = &f->runs[i];
    if (f->down) {
        return f->soon ? -EAGAIN : -ENOLINK;
    }
    assert_true(i < FAKE_RUNS && run->state == FAKE_IDLE);
    assert_true(r->token_count > 0 && r->token_count <= f->runner.most_prompt);
    assert_true(r->history_count <= r->position);
    assert_true(r->most_tokens <= f->runner.most_tokens);
    uint32_t last = r->position + r->token_count + (r->most_tokens ? r->most_tokens - 1 : 0);
    assert_true(r->kv_page_count * TN_KV_PAGE_TOKENS >= last);
    *run = (struct fake_run){.state = FAKE_RUNS_NOW,
                             .history = r->history_count,
                             .count = r->history_count + r->token_count,
                             .read = r->history_count,
                             .position = r->position,
                             .most = r->most_tokens,
                             .stop_count = r->stop_count,
                             .page_count = r->kv_page_count,
                             .sampling = *r->sampling,
                             .rng = {r->sampling->seed, r->counter},
                             .logits = r->logits};
    assert_true(run->count + run->most <= FAKE_TOKENS && r->stop_count <= 4);
    memcpy(run->tokens, r->tokens, run->count * sizeof(int32_t));
    memcpy(run->pages, r->kv_pages, run->page_count * sizeof(uint32_t));
    memcpy(run->stops, r->stops, r->stop_count * sizeof(int32_t));
    f->started++;
    return 0;
}

static inline void fake_cancel(void *ctx, uint32_t i)
{
    struct fake_runner *f = ctx;
    f->runs[i].cancelled = true;
}

static inline void fake_end(struct fake_runner *f, uint32_t i, enum infer_event_kind kind)
{
    f->runs[i].state = FAKE_IDLE;
    fake_tell(f, i, kind, 0);
}

// One step of one run.
static inline void fake_advance(struct fake_runner *f, uint32_t i)
{
    struct fake_run *run = &f->runs[i];
    if (run->cancelled) {
        fake_end(f, i, INFER_RUN_CANCELLED);
        return;
    }
    uint32_t now = 0;
    for (uint32_t n = 0; n < FAKE_RUNS; n++) {
        now += f->runs[n].state == FAKE_RUNS_NOW;
    }
    if (f->most_now && now > f->most_now && run->made == 0) {
        f->busy++;
        fake_end(f, i, INFER_RUN_BUSY);
        return;
    }
    if (f->refuse && run->made == 3) {
        fake_end(f, i, f->refuse-- % 2 ? INFER_RUN_REFUSED : INFER_RUN_BUSY);
        return;
    }
    uint32_t n = run->count - run->read < 16 ? run->count - run->read : 16;
    struct tn_step_sequence s = {.tokens = run->tokens + run->read,
                                 .token_count = n,
                                 .position = run->position + run->read - run->history,
                                 .kv_pages = run->pages,
                                 .kv_page_count = run->page_count,
                                 .kv = f->kv,
                                 .kv_page_total = f->page_total,
                                 .logits_from = n - 1,
                                 .logits = f->row};
    assert_int_equal(tn_step(f->executor, &s, 1), 0);
    run->read += n;
    if (run->read < run->count) {
        return;
    }
    if (run->logits) {
        memcpy(run->logits, f->row, f->vocabulary * sizeof(float));
    }
    if (run->made == run->most) {
        fake_end(f, i, INFER_RUN_LENGTH);
        return;
    }
    int32_t id =
        tn_sample(f->row, f->vocabulary, &run->sampling, &run->rng, run->tokens, run->count);
    for (uint32_t k = 0; k < run->stop_count; k++) {
        if (id == run->stops[k]) {
            fake_end(f, i, INFER_RUN_STOP);
            return;
        }
    }
    run->tokens[run->count++] = id;
    f->tokens++;
    fake_tell(f, i, INFER_RUN_TOKEN, id);
    if (++run->made == run->most) {
        fake_end(f, i, INFER_RUN_LENGTH);
    }
}

// A host that is only slow writes where the run may write, whatever the guest does meanwhile.
static inline void fake_scribble(struct fake_runner *f)
{
    for (uint32_t i = 0; i < FAKE_RUNS; i++) {
        struct fake_run *run = &f->runs[i];
        for (uint32_t p = run->position / TN_KV_PAGE_TOKENS;
             run->state == FAKE_LOST && p < run->page_count; p++) {
            memset(f->kv + f->page_bytes * run->pages[p], 0x41 + (int)i, f->page_bytes);
        }
    }
}

static inline bool fake_next(void *ctx, struct infer_event *out)
{
    struct fake_runner *f = ctx;
    if (f->head == f->tail && !f->down && f->looks++ % 3 != 2) {
        for (uint32_t n = 0; n < FAKE_RUNS; n++) {
            f->turn = (f->turn + 1) % FAKE_RUNS;
            if (f->runs[f->turn].state == FAKE_RUNS_NOW) {
                fake_advance(f, f->turn);
                break;
            }
        }
    }
    if (f->scribble) {
        fake_scribble(f);
    }
    if (f->head == f->tail) {
        return false;
    }
    *out = f->events[f->head++ % FAKE_EVENTS];
    return true;
}

static inline void fake_lose(struct fake_runner *f)
{
    f->down = true;
    for (uint32_t i = 0; i < FAKE_RUNS; i++) {
        if (f->runs[i].state == FAKE_RUNS_NOW) {
            f->runs[i].state = FAKE_LOST;
            fake_tell(f, i, INFER_RUN_LOST, 0);
        }
    }
}

static inline void fake_return(struct fake_runner *f)
{
    f->down = false;
    for (uint32_t i = 0; i < FAKE_RUNS; i++) {
        if (f->runs[i].state == FAKE_LOST) {
            f->runs[i].state = FAKE_IDLE;
            fake_tell(f, i, INFER_RUN_QUIET, 0);
        }
    }
}

// Opens model, the engine's executor and the runner over one KV memory. layers of the tiny model
// lie apart, so page_bytes scribbles over one layer's part at a time: enough to be noticed.
static inline void fake_runner_open(struct fake_runner *f, struct test_model *m,
                                    const struct tiny_options *o, uint32_t pages,
                                    uint32_t sequences, uint32_t max_tokens)
{
    char error[256] = "";
    size_t bytes;
    memset(f, 0, sizeof *f);
    m->file = tiny_gguf(o, &bytes);
    assert_int_equal(tn_model_open(m->file, bytes, &m->model, error, sizeof error), 0);
    struct tn_model_info info;
    tn_model_info(m->model, &info);
    size_t kv_bytes = tn_kv_page_bytes(m->model, TN_F32) * pages;
    f->kv = aligned_alloc(64, (kv_bytes + 63) / 64 * 64);
    memset(f->kv, 0xff, kv_bytes);
    f->page_bytes = tn_kv_page_bytes(m->model, TN_F32) / info.layers;
    f->page_total = pages;
    f->vocabulary = info.vocabulary;
    f->row = malloc(info.vocabulary * sizeof(float));
    struct tn_executor_options x = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = max_tokens,
                                    .max_sequences = sequences,
                                    .kv_page_total = pages,
                                    .kv_memory = f->kv,
                                    .kv_type = TN_F32};
    assert_int_equal(tn_executor_open(m->model, &x, &m->executor, error, sizeof error), 0);
    x.kv_page_total = 0;
    x.kv_memory = NULL;
    x.max_tokens = 16;
    assert_int_equal(tn_executor_open(m->model, &x, &f->executor, error, sizeof error), 0);
    f->runner = (struct infer_runner){.ctx = f,
                                      .most_runs = FAKE_RUNS,
                                      .most_tokens = 20,
                                      .most_prompt = 50,
                                      .most_stops = 4,
                                      .start = fake_start,
                                      .cancel = fake_cancel,
                                      .next = fake_next};
}

static inline void fake_runner_close(struct fake_runner *f, struct test_model *m)
{
    tn_executor_close(f->executor);
    test_model_close(m);
    free(f->kv);
    free(f->row);
}

#endif
