// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a host that serves HC_ALLOC, HC_MODEL_OPEN, HC_RUN and HC_CANCEL with an executor of
// its own, one step of one run each time the guest sleeps or rings. It trusts the guest.
#ifndef HYPERCALL_GUEST_FAKE_WORKER_H
#define HYPERCALL_GUEST_FAKE_WORKER_H

#include "hypercall/guest/fake_host.h"
#include "hypercall/guest/runner.h"
#include "tensor/infer/test_engine.h"

enum { WORKER_RUNS = 16, WORKER_TOKENS = 1024, WORKER_OFFSET = HC_ARENA + 4096 };

struct worker_run {
    bool busy, cancelled;
    struct hc_submission call;
    struct hc_run run;
    int32_t tokens[WORKER_TOKENS];
    uint32_t pages[WORKER_TOKENS / TN_KV_PAGE_TOKENS];
    uint32_t count, read, made;
    struct tn_rng rng;
};

struct worker {
    struct fake_host host; // first: act() gets it
    struct tn_executor *executor;
    struct hc_model_open facts;
    float *row;
    uint64_t offset; // of the buffer
    struct worker_run runs[WORKER_RUNS];
    uint32_t turn, runs_begun, alloc_refused, run_status; // status of runs, 0: they run
    bool silent;                                          // does nothing at all
};

static inline uint8_t *worker_at(struct worker *w, uint64_t offset)
{
    return w->host.region + w->offset + offset;
}

static inline void worker_post(struct worker *w, const struct hc_submission *s, uint16_t kind,
                               int32_t status, uint64_t a, uint64_t b)
{
    struct hc_completion c = {s->tag, s->call, kind, status, {a, b}};
    fake_answer(&w->host, &c);
}

static inline void worker_begin(struct worker *w, const struct hc_submission *s)
{
    struct worker_run *x = w->runs;
    while (x->busy) {
        x++;
    }
    assert_true(x < w->runs + WORKER_RUNS);
    *x = (struct worker_run){.busy = true, .call = *s};
    memcpy(&x->run, worker_at(w, s->argument[1]), sizeof x->run);
    struct hc_run *r = &x->run;
    assert_int_equal(r->flags, 0);
    assert_int_equal(r->model, 7);
    x->count = r->history_count + r->token_count;
    x->read = r->history_count;
    x->rng = (struct tn_rng){r->seed, r->counter};
    assert_true(x->count + r->most_tokens <= WORKER_TOKENS && r->token_count > 0);
    memcpy(x->tokens, worker_at(w, r->tokens.offset), x->count * sizeof(int32_t));
    memcpy(x->pages, worker_at(w, r->kv_pages.offset), r->kv_page_count * sizeof(uint32_t));
    w->runs_begun++;
}

static inline void worker_end(struct worker *w, struct worker_run *x, int32_t status,
                              enum hc_reason reason)
{
    x->busy = false;
    worker_post(w, &x->call, HC_END, status, reason, x->made);
}

static inline void worker_advance(struct worker *w, struct worker_run *x)
{
    struct hc_run *r = &x->run;
    if (w->run_status) {
        worker_end(w, x, -(int32_t)w->run_status, 0);
        return;
    }
    if (x->cancelled) {
        worker_end(w, x, -HC_CANCELLED, 0);
        return;
    }
    uint32_t n = x->count - x->read < 16 ? x->count - x->read : 16;
    struct tn_step_sequence s = {.tokens = x->tokens + x->read,
                                 .token_count = n,
                                 .position = r->position + x->read - r->history_count,
                                 .kv_pages = x->pages,
                                 .kv_page_count = r->kv_page_count,
                                 .kv = worker_at(w, r->kv.offset),
                                 .kv_page_total = r->kv_page_total,
                                 .logits_from = n - 1,
                                 .logits = w->row};
    assert_int_equal(tn_step(w->executor, &s, 1), 0);
    x->read += n;
    if (x->read < x->count) {
        return;
    }
    if (r->logit_rows) {
        memcpy(worker_at(w, r->logits.offset), w->row, w->facts.vocabulary * sizeof(float));
    }
    if (x->made == r->most_tokens) {
        worker_end(w, x, 0, HC_REASON_LENGTH);
        return;
    }
    struct tn_sampling sampling = {.temperature = r->temperature,
                                   .top_k = r->top_k,
                                   .top_p = r->top_p,
                                   .min_p = r->min_p,
                                   .repeat_penalty = r->repeat_penalty,
                                   .repeat_last = r->repeat_last,
                                   .presence_penalty = r->presence_penalty,
                                   .frequency_penalty = r->frequency_penalty,
                                   .seed = r->seed};
    int32_t id = tn_sample(w->row, w->facts.vocabulary, &sampling, &x->rng, x->tokens, x->count);
    for (uint32_t k = 0; k < r->stop_count; k++) {
        if (id == r->stops[k]) {
            worker_end(w, x, 0, HC_REASON_STOP);
            return;
        }
    }
    x->tokens[x->count++] = id;
    worker_post(w, &x->call, HC_TOKEN, 0, (uint64_t)id, ++x->made);
    if (x->made == r->most_tokens) {
        worker_end(w, x, 0, HC_REASON_LENGTH);
    }
}

static inline void worker_call(struct worker *w, const struct hc_submission *s)
{
    struct hc_model_open *m;
    switch (s->call) {
    case HC_ALLOC:
        worker_post(w, s, HC_END, w->alloc_refused ? -HC_NO_MEMORY : 0, 3, w->offset);
        break;
    case HC_MODEL_OPEN:
        m = (struct hc_model_open *)(void *)worker_at(w, s->argument[1]);
        w->facts.identity = m->identity;
        *m = w->facts;
        worker_post(w, s, HC_END, m->identity.sha256[0] == 0xab ? 0 : -HC_NOT_FOUND, 7, 0);
        break;
    case HC_RUN:
        worker_begin(w, s);
        break;
    case HC_CANCEL:
        for (int i = 0; i < WORKER_RUNS; i++) {
            w->runs[i].cancelled |= w->runs[i].call.tag == s->argument[0];
        }
        worker_post(w, s, HC_END, 0, 0, 0);
        break;
    case HC_NOTHING:
        worker_post(w, s, HC_END, 0, 0, 0);
        break;
    default:
        worker_post(w, s, HC_END, -HC_NOT_SUPPORTED, 0, 0);
    }
}

static inline void worker_act(struct fake_host *h)
{
    struct worker *w = (struct worker *)(void *)h;
    struct hc_submission s;
    if (w->silent) {
        return;
    }
    if (fake_page(h)->attached != fake_guest(h)->generation) {
        memset(w->runs, 0, sizeof w->runs);
        fake_page(h)->state = HC_HOST_READY;
        fake_attach(h);
    }
    while (fake_take(h, &s)) {
        worker_call(w, &s);
    }
    for (int i = 0; i < WORKER_RUNS; i++) {
        w->turn = (w->turn + 1) % WORKER_RUNS;
        if (w->runs[w->turn].busy) {
            worker_advance(w, &w->runs[w->turn]);
            break;
        }
    }
}

// Its executor works on m's model; the region holds its arena of region_bytes.
static inline void worker_open(struct worker *w, const struct test_model *m, uint64_t region_bytes)
{
    char error[200];
    struct tn_model_info info;
    memset(w, 0, sizeof *w);
    fake_open(&w->host, region_bytes);
    w->host.act = worker_act;
    w->offset = WORKER_OFFSET;
    tn_model_info(m->model, &info);
    w->facts = (struct hc_model_open){.vocabulary = info.vocabulary,
                                      .context = info.context,
                                      .layers = info.layers,
                                      .kv_heads = info.kv_heads,
                                      .head_dim = info.head_dim,
                                      .kv_page_bytes = tn_kv_page_bytes(m->model, TN_F32)};
    w->row = malloc(info.vocabulary * sizeof(float));
    struct tn_executor_options x = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = 16,
                                    .max_sequences = 1,
                                    .kv_type = TN_F32};
    assert_int_equal(tn_executor_open(m->model, &x, &w->executor, error, sizeof error), 0);
}

static inline void worker_close(struct worker *w)
{
    tn_executor_close(w->executor);
    free(w->row);
    free(w->host.region);
}

#endif
