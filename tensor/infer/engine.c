// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine of infer.h: requests in, one step over all running sequences at a time, tokens out.
#include "tensor/infer/infer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void set_limits(struct infer_engine *e, const struct infer_options *o,
                       const struct tn_model_info *info)
{
    e->options = *o;
    struct infer_options *p = &e->options;
    p->slots = p->slots ? p->slots : 8;
    p->queue = p->queue ? p->queue : 64;
    p->prefill_chunk = p->prefill_chunk ? p->prefill_chunk : 64;
    p->slots = at_most(p->slots, at_most(e->limits.max_sequences, e->limits.max_tokens));
    p->context = p->context ? at_most(p->context, info->context) : info->context;
    uint64_t stored = (uint64_t)e->limits.kv_page_total * TN_KV_PAGE_TOKENS;
    if (p->context > stored) {
        p->context = (uint32_t)stored;
    }
    e->vocabulary = info->vocabulary;
    e->embeds = info->embeds;
    e->pages_per_sequence = (p->context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
}

int infer_open(const struct tn_model *m, struct tn_executor *x, const struct infer_options *o,
               struct infer_engine **out)
{
    struct infer_engine *e = calloc(1, sizeof *e);
    struct tn_model_info info;
    if (!e) {
        return -ENOMEM;
    }
    e->model = m;
    e->tokenizer = tn_model_tokenizer(m);
    e->executor = x;
    tn_executor_limits(x, &e->limits);
    tn_model_info(m, &info);
    set_limits(e, o, &info);
    int error = infer_open_draft(e);
    if (error) {
        infer_close(e);
        return error;
    }
    e->logits_rows = 1 + e->draft_most;
    if ((error = infer_open_remote(e)) != 0) {
        infer_close(e);
        return error;
    }
    size_t slots = e->options.slots, all = slots + e->options.queue;
    e->sequences = calloc(all, sizeof *e->sequences);
    e->running = calloc(slots, sizeof *e->running);
    e->wanted = calloc(slots, sizeof *e->wanted);
    e->page_tables = calloc(slots * e->pages_per_sequence, sizeof *e->page_tables);
    e->free_tables = calloc(slots, sizeof *e->free_tables);
    e->logits = calloc(slots * e->logits_rows * e->vocabulary, sizeof *e->logits);
    e->step = calloc(slots, sizeof *e->step);
    e->entries = calloc(slots, sizeof *e->entries);
    if (pages_open(&e->store, e->limits.kv_page_total) != 0 || !e->sequences || !e->running ||
        !e->wanted || !e->page_tables || !e->free_tables || !e->logits || !e->step || !e->entries) {
        infer_close(e);
        return -ENOMEM;
    }
    for (size_t i = all; i-- > 0;) {
        e->sequences[i].next = e->free;
        e->free = &e->sequences[i];
    }
    for (size_t i = 0; i < slots; i++) {
        e->free_tables[e->free_table_count++] = e->page_tables + i * e->pages_per_sequence;
    }
    *out = e;
    return 0;
}

void infer_close(struct infer_engine *e)
{
    if (!e) {
        return;
    }
    for (size_t i = 0; e->sequences && i < e->options.slots + e->options.queue; i++) {
        free(e->sequences[i].tokens);
    }
    free(e->sequences);
    free(e->running);
    pages_close(&e->store);
    free(e->wanted);
    free(e->draft_pages);
    infer_close_remote(e);
    free(e->page_tables);
    free(e->free_tables);
    free(e->logits);
    free(e->step);
    free(e->entries);
    free(e);
}

int infer_submit(struct infer_engine *e, const struct infer_request *r, struct infer_sequence **out)
{
    if (r->token_count == 0 || e->embeds) {
        return -EINVAL;
    }
    if (r->token_count >= e->options.context + (r->logits ? 1 : 0)) {
        return -E2BIG;
    }
    for (size_t i = 0; i < r->token_count; i++) {
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->vocabulary) {
            return -EINVAL;
        }
    }
    struct infer_sequence *s = e->free;
    if (!s) { // slots + queue of them are taken
        return -EAGAIN;
    }
    uint32_t prompt = (uint32_t)r->token_count, room = e->options.context - prompt;
    uint32_t made = r->logits ? 0 : r->max_tokens ? at_most(r->max_tokens, room) : room;
    int32_t *tokens = malloc((prompt + (size_t)made) * sizeof *tokens);
    if (!tokens) {
        return -ENOMEM;
    }
    e->free = s->next;
    memcpy(tokens, r->tokens, prompt * sizeof *tokens);
    *s = (struct infer_sequence){.age = e->next_age++,
                                 .tokens = tokens,
                                 .count = prompt,
                                 .prompt_count = prompt,
                                 .space = prompt + made,
                                 .request = *r};
    s->request.tokens = NULL;
    tn_rng_seed(&s->rng, r->sampling.seed);
    infer_enqueue(e, s);
    e->stats.requests++;
    if (out) {
        *out = s;
    }
    return 0;
}

void infer_finish(struct infer_engine *e, struct infer_sequence *s, enum infer_finish why)
{
    if (s->state == SEQUENCE_RUNNING) {
        infer_stop_running(e, s);
    } else {
        struct infer_sequence **at = &e->waiting;
        while (*at != s) {
            at = &(*at)->next;
        }
        *at = s->next;
        e->waiting_count--;
    }
    struct infer_request r = s->request;
    uint32_t prompt = s->prompt_count, made = s->count - s->prompt_count;
    free(s->tokens);
    *s = (struct infer_sequence){.next = e->free};
    e->free = s;
    e->stats.finished[why]++;
    if (r.on_finish) {
        r.on_finish(r.ctx, why, prompt, made);
    }
}

void infer_cancel(struct infer_engine *e, struct infer_sequence *s)
{
    if (s && s->state != SEQUENCE_FREE) {
        infer_finish(e, s, INFER_CANCELLED);
    }
}

// ---- one step ----------------------------------------------------------------------------------

// Still the sequence it was? A callback may have ended it, and its place may have been given away.
static bool same(const struct infer_sequence *s, uint64_t age)
{
    return s->state != SEQUENCE_FREE && s->age == age;
}

// Shares the step's tokens: one and its guesses for each sequence that decodes, the rest evenly for
// prompts. Oldest first, so that only younger ones lose pages.
static void share_step(struct infer_engine *e)
{
    uint32_t decoding = 0, prompts = 0;
    for (uint32_t i = 0; i < e->running_count; i++) {
        e->running[i]->batch = 0;
        if (infer_elsewhere(e->running[i])) {
            continue;
        }
        bool decodes = e->running[i]->count - e->running[i]->done == 1;
        decoding += decodes ? 1 + e->running[i]->drafted : 0;
        prompts += !decodes;
    }
    uint32_t all = e->here_tokens > decoding ? e->here_tokens : decoding + 1;
    uint32_t left = at_most(e->limits.max_tokens, all) - decoding;
    // Sequences that are stopped to make room are behind this one.
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct infer_sequence *s = e->running[i];
        if (infer_elsewhere(s)) {
            continue;
        }
        uint32_t missing = s->count - s->done;
        // Nobody gives a page back for a guess.
        if (infer_pages_missing(s, s->count + s->drafted) > pages_available(&e->store)) {
            s->drafted = 0;
        }
        uint32_t take = 1 + s->drafted;
        if (missing > 1) {
            take = left / (prompts ? prompts : 1);
            take = at_most(take, missing);
            if (decoding) {
                take = at_most(take, e->options.prefill_chunk);
            }
            left -= take;
            prompts--;
        }
        // When it has to give way itself, it is the youngest: nothing follows.
        if (!infer_reserve(e, s, s->done + take)) {
            break;
        }
        s->batch = take;
    }
}

static uint32_t bind_step(struct infer_engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct infer_sequence *s = e->running[i];
        if (s->batch == 0) {
            continue;
        }
        bool wanted = s->done + s->batch == s->count + s->drafted;
        float *logits = wanted ? e->logits + (size_t)n * e->logits_rows * e->vocabulary : NULL;
        e->entries[n] = (struct step_entry){s, s->age, logits};
        e->step[n++] = (struct tn_step_sequence){
            .tokens = s->tokens + s->done,
            .token_count = s->batch,
            .position = s->done,
            .kv_pages = s->pages,
            .kv_page_count = s->page_count,
            .logits_from = wanted ? s->batch - 1 - s->drafted : s->batch,
            .logits = logits,
        };
    }
    return n;
}

bool infer_append(struct infer_engine *e, struct infer_sequence *s, int32_t id)
{
    uint64_t age = s->age;
    s->tokens[s->count++] = id;
    e->stats.made_tokens++;
    int stop = s->request.on_token ? s->request.on_token(s->request.ctx, id) : 0;
    if (!same(s, age)) {
        return false;
    }
    if (stop || s->count >= s->space) {
        infer_finish(e, s, stop ? INFER_STOP : INFER_LENGTH);
        return false;
    }
    return true;
}

// The token that a row of logits gives. False: the sequence is finished.
static bool take_token(struct infer_engine *e, struct infer_sequence *s, float *logits)
{
    int32_t id =
        tn_sample(logits, e->vocabulary, &s->request.sampling, &s->rng, s->tokens, s->count);
    if (!(logits[id] - logits[id] == 0)) { // not a finite number: the weights are damaged
        infer_finish(e, s, INFER_ERROR);
        return false;
    }
    if (!s->request.ignore_end && tokenizer_is_end(e->tokenizer, id)) {
        infer_finish(e, s, INFER_STOP);
        return false;
    }
    return infer_append(e, s, id);
}

// The step's rows of one sequence: its next token, and as long as guesses are right one for each
// of them.
static void take_tokens(struct infer_engine *e, struct infer_sequence *s, float *logits)
{
    uint32_t accepted = 0;
    if (s->request.logits) {
        memcpy(s->request.logits, logits, e->vocabulary * sizeof *logits);
        infer_advance(e, s, s->count);
        infer_finish(e, s, INFER_STOP);
        return;
    }
    for (;; accepted++) {
        uint32_t at = s->count;
        int32_t guess = accepted < s->drafted ? s->tokens[at] : -1;
        infer_advance(e, s, at);
        if (!take_token(e, s, logits + (size_t)accepted * e->vocabulary)) {
            return;
        }
        if (s->tokens[at] != guess) {
            break;
        }
    }
    infer_drafts_judged(e, s, accepted);
}

static void count_time(struct infer_engine *e, uint32_t entries, uint64_t ns)
{
    uint64_t prompt = 0, decode = 0;
    for (uint32_t i = 0; i < entries; i++) {
        const struct infer_sequence *s = e->entries[i].sequence;
        if (s->done < s->prompt_count) {
            prompt += s->batch;
        } else {
            decode += s->batch;
        }
    }
    uint64_t share = prompt + decode ? ns * prompt / (prompt + decode) : 0;
    e->stats.prompt_tokens += prompt;
    infer_remote_note_step(e, (uint32_t)(prompt + decode), ns);
    e->stats.prompt_ns += share;
    e->stats.decode_ns += ns - share;
    e->stats.steps++;
}

uint32_t infer_step(struct infer_engine *e)
{
    infer_remote_look(e);
    infer_admit(e);
    infer_remote_start(e);
    uint64_t begun = e->options.now_ns ? e->options.now_ns() : 0;
    infer_draft(e);
    share_step(e);
    uint32_t n = bind_step(e);
    e->bound_entries = n;
    if (n == 0) {
        return e->running_count + e->waiting_count;
    }
    int error = tn_step(e->executor, e->step, n);
    uint64_t ended = e->options.now_ns ? e->options.now_ns() : 0;
    count_time(e, n, ended - begun);
    for (uint32_t i = 0; i < n; i++) {
        const struct step_entry *entry = &e->entries[i];
        struct infer_sequence *s = entry->sequence;
        if (!same(s, entry->age)) {
            continue;
        }
        if (error) {
            infer_finish(e, s, INFER_ERROR);
            continue;
        }
        uint32_t read = s->done + s->batch;
        s->batch = 0;
        if (entry->logits) {
            take_tokens(e, s, entry->logits);
        } else {
            infer_advance(e, s, read);
        }
    }
    infer_follow(e);
    return e->running_count + e->waiting_count;
}

bool infer_waits(const struct infer_engine *e)
{
    bool runs = e->draining != 0;
    for (uint32_t i = 0; i < e->running_count && !runs; i++) {
        runs = infer_elsewhere(e->running[i]);
    }
    return e->bound_entries == 0 && runs;
}

void infer_forget(struct infer_engine *e)
{
    pages_forget(&e->store);
}

void infer_get_stats(const struct infer_engine *e, struct infer_stats *out)
{
    *out = e->stats;
    out->running = e->running_count;
    out->waiting = e->waiting_count;
    out->kv_pages_total = e->limits.kv_page_total;
    out->kv_pages_used = e->limits.kv_page_total - pages_available(&e->store);
    out->kv_pages_cached = e->store.cached_count;
    out->kv_pages_shared = e->store.shared_count;
    out->remote_running = infer_remote_count(e, REMOTE_RUNNING);
    out->kv_pages_quarantined = infer_remote_quarantined(e);
}
