// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HC_RUN: everything it says is copied once and checked; what is used later are copies. K, V and
// logits stay in the guest's region: they are only ever numbers.
#include "hypercall/host/tensord/worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct engine *guest_engine(struct guest *g, uint32_t handle)
{
    uint32_t i = handle_index(handle);
    if (i >= HC_MOST_MODELS || handle != handle_make(i, g->models[i].serial)) {
        return NULL;
    }
    return g->models[i].engine;
}

static bool within(float value, float least, float most)
{
    return value >= least && value <= most; // false for what is no number
}

static bool sampling_is_sound(const struct hc_run *c)
{
    return within(c->temperature, 0, 1e6f) && within(c->top_p, 0, 1) && within(c->min_p, 0, 1) &&
           within(c->repeat_penalty, 1e-3f, 1e3f) && within(c->presence_penalty, -1e3f, 1e3f) &&
           within(c->frequency_penalty, -1e3f, 1e3f);
}

static int check_sizes(const struct engine *e, const struct hc_run *c)
{
    uint64_t end = (uint64_t)c->position + c->token_count;
    // The last token made is not read any more: it takes no place.
    uint64_t stored = end + (c->most_tokens ? c->most_tokens - 1 : 0);
    if (c->flags & ~(uint32_t)HC_RUN_FLAGS || c->zero || !sampling_is_sound(c)) {
        return HC_BAD_VALUE;
    }
    if (c->token_count == 0 || c->token_count > HC_MOST_PROMPT || c->most_tokens > HC_MOST_TOKENS ||
        c->history_count > MOST_HISTORY || c->history_count > c->position ||
        c->stop_count > HC_MOST_STOPS || c->bias_count > HC_MOST_BIASES ||
        c->logit_rows > c->token_count || stored > e->weights->info.context) {
        return HC_BAD_VALUE;
    }
    if (c->kv_page_count > HC_MOST_PAGES || c->kv_page_total == 0 ||
        (uint64_t)c->kv_page_count * TN_KV_PAGE_TOKENS < stored) {
        return HC_BAD_PAGE;
    }
    return HC_OK;
}

// The run's private copies lie behind it in one block.
struct sizes {
    size_t tokens, pages, biases, mask, all;
};

static struct sizes sizes_of(const struct engine *e, const struct hc_run *c)
{
    struct sizes s;
    s.tokens = ((size_t)c->history_count + c->token_count + c->most_tokens) * sizeof(int32_t);
    s.pages = (size_t)c->kv_page_count * sizeof(uint32_t);
    s.biases = (size_t)c->bias_count * sizeof(struct hc_bias);
    s.mask = c->mask.buffer ? ((size_t)e->weights->info.vocabulary + 7) / 8 : 0;
    s.all = sizeof(struct run) + s.tokens + s.pages + s.biases + s.mask;
    return s;
}

static int copy_in(struct guest *g, const struct hc_span *span, void *to, size_t bytes)
{
    uint64_t offset;
    int status = bytes ? arena_resolve(&g->arena, span, bytes, 4, &offset) : HC_OK;
    if (!status && bytes) {
        hc_copy(to, g->region + offset, bytes);
    }
    return status;
}

static int copy_tokens(struct guest *g, struct run *r, const struct hc_run *c)
{
    uint32_t vocabulary = r->engine->weights->info.vocabulary;
    size_t count = (size_t)c->history_count + c->token_count;
    int status = copy_in(g, &c->tokens, r->tokens, count * sizeof *r->tokens);
    for (size_t i = 0; !status && i < count; i++) {
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= vocabulary) {
            status = HC_BAD_TOKEN;
        }
    }
    for (uint32_t i = 0; !status && i < c->stop_count; i++) {
        r->stops[i] = c->stops[i];
        if (c->stops[i] < 0 || (uint32_t)c->stops[i] >= vocabulary) {
            status = HC_BAD_TOKEN;
        }
    }
    return status;
}

static int copy_pages(struct guest *g, struct run *r, const struct hc_run *c)
{
    uint64_t offset, store = r->engine->kv_page_bytes * c->kv_page_total;
    int status = copy_in(g, &c->kv_pages, r->pages, c->kv_page_count * sizeof *r->pages);
    for (uint32_t i = 0; !status && i < c->kv_page_count; i++) {
        if (r->pages[i] >= c->kv_page_total) {
            status = HC_BAD_PAGE;
        }
    }
    if (!status) {
        status = arena_resolve(&g->arena, &c->kv, store, HC_ALIGN, &offset);
    }
    if (!status) {
        r->kv = g->region + offset;
    }
    return status;
}

// Which tokens may be drawn at all: there must be one.
static int copy_rules(struct guest *g, struct run *r, const struct hc_run *c, uint8_t *at,
                      const struct sizes *s)
{
    _Static_assert(sizeof(struct hc_bias) == sizeof(struct tn_logit_bias), "the same");
    struct tn_logit_bias *biases = (struct tn_logit_bias *)(void *)at;
    uint8_t *mask = at + s->biases;
    uint32_t vocabulary = r->engine->weights->info.vocabulary, allowed = 0;
    int status = copy_in(g, &c->biases, biases, s->biases);
    for (uint32_t i = 0; !status && i < c->bias_count; i++) {
        if (biases[i].token < 0 || (uint32_t)biases[i].token >= vocabulary) {
            status = HC_BAD_TOKEN;
        } else if (!(biases[i].bias <= 1e6f)) {
            status = HC_BAD_VALUE;
        }
    }
    if (!status && s->mask) {
        status = copy_in(g, &c->mask, mask, s->mask);
        for (uint32_t i = 0; !status && !allowed && i < vocabulary; i++) {
            allowed += mask[i / 8] >> i % 8 & 1;
        }
        status = status ? status : allowed ? HC_OK : HC_BAD_VALUE;
    }
    r->rules = (struct tn_logit_rules){s->mask ? mask : NULL, biases, c->bias_count};
    return status;
}

static int place_logits(struct guest *g, struct run *r, const struct hc_run *c)
{
    uint64_t offset, row = (uint64_t)r->engine->weights->info.vocabulary * sizeof(float);
    if (c->logit_rows == 0) {
        return HC_OK;
    }
    int status = arena_resolve(&g->arena, &c->logits, row * c->logit_rows, 4, &offset);
    if (!status) {
        r->logits_out = (float *)(void *)(g->region + offset);
        r->logit_rows = c->logit_rows;
    }
    return status;
}

static int fill(struct guest *g, struct run *r, const struct hc_run *c, const struct sizes *s)
{
    uint8_t *at = (uint8_t *)(r + 1);
    r->tokens = (int32_t *)(void *)at;
    r->pages = (uint32_t *)(void *)(at + s->tokens);
    r->kv_page_total = c->kv_page_total;
    r->kv_page_count = c->kv_page_count;
    r->first = c->position - c->history_count;
    r->done = c->position;
    r->count = r->prompt = c->position + c->token_count;
    r->most = c->most_tokens;
    r->sampling = (struct tn_sampling){.temperature = c->temperature,
                                       .top_k = c->top_k,
                                       .top_p = c->top_p,
                                       .min_p = c->min_p,
                                       .repeat_penalty = c->repeat_penalty,
                                       .repeat_last = c->repeat_last,
                                       .presence_penalty = c->presence_penalty,
                                       .frequency_penalty = c->frequency_penalty,
                                       .seed = c->seed};
    r->rng = (struct tn_rng){.seed = c->seed, .counter = c->counter};
    r->stop_count = c->stop_count;
    r->submitted_ns = now_ns();
    int status = copy_tokens(g, r, c);
    if (!status) {
        status = copy_pages(g, r, c);
    }
    if (!status) {
        status = copy_rules(g, r, c, at + s->tokens + s->pages, s);
    }
    return status ? status : place_logits(g, r, c);
}

int run_submit(struct guest *g, const struct hc_submission *s)
{
    const struct hc_run *c = &g->run;
    struct engine *e = g->run_status ? NULL : guest_engine(g, c->model);
    int status = g->run_status ? g->run_status : e ? check_sizes(e, c) : HC_BAD_HANDLE;
    if (status) {
        return status;
    }
    struct sizes sizes = sizes_of(e, c);
    if (g->run_count >= g->policy.most_runs || g->run_count >= HC_MOST_RUNS) {
        return HC_BUSY;
    }
    if (sizes.all > g->policy.memory_bytes - g->memory) {
        return HC_NO_MEMORY;
    }
    struct run *r = calloc(1, sizes.all);
    if (!r) {
        return HC_NO_MEMORY;
    }
    r->guest = g;
    r->tag = s->tag;
    r->engine = e;
    r->serial = ++g->worker->run_serial;
    r->memory = sizes.all;
    status = fill(g, r, c, &sizes);
    if (status) {
        free(r);
        return status;
    }
    struct run **end = &g->runs;
    while (*end) {
        end = &(*end)->next;
    }
    *end = r;
    g->memory += r->memory;
    compose_wake(g);
    g->run_count++;
    return HC_OK;
}

void run_free(struct run *r)
{
    struct guest *g = r->guest;
    for (struct run **at = &g->runs; *at; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    g->run_count--;
    g->memory -= r->memory;
    free(r);
}

void run_end(struct run *r, int status, enum hc_reason reason)
{
    struct guest *g = r->guest;
    // What it did not use of the completions it reserved; its end takes one.
    uint32_t unused = r->most - r->made;
    g->owed -= g->owed > unused ? unused : g->owed;
    guest_post(g, r->tag, HC_RUN, HC_END, status, (uint64_t)reason, r->made);
    run_free(r);
}
