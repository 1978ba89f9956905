// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs elsewhere (infer_runner of infer.h). A sequence whose run is under way keeps `done` where
// the run began: what the run writes counts when it has ended. A run holds the pages that it may
// write as well as its sequence does, so a page comes back only when nobody can write it any more.
// When a run is lost, its sequence goes on from the last whole page before it, on other pages.
#include "tensor/infer/infer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_RUNS = 64,
    EVENTS_A_LOOK = 4096,
    TRY_AGAIN_AFTER = 8,      // tokens computed here after the runner was busy
    MOST_LOSSES = 2,          // without a token between them
    FIRST_HERE = 8,           // tokens of the first step here, before its time is known
    STEP_HERE_NS = 200000000, // that a step here should take at most where there is a runner
};

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

int infer_open_remote(struct infer_engine *e)
{
    const struct infer_runner *r = e->options.runner;
    e->here_tokens = UINT32_MAX;
    if (!r) {
        return 0;
    }
    // A lost run keeps its place until it is quiet, so there are more than slots.
    e->run_count = at_most(at_most(r->most_runs, MOST_RUNS), 2 * e->options.slots);
    e->runs = calloc(e->run_count, sizeof *e->runs);
    e->run_pages = calloc((size_t)e->run_count * e->pages_per_sequence, sizeof *e->run_pages);
    e->stops = calloc(r->most_stops + 1, sizeof *e->stops);
    if (!e->runs || !e->run_pages || !e->stops) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < e->run_count; i++) {
        e->runs[i].pages = e->run_pages + (size_t)i * e->pages_per_sequence;
    }
    for (uint32_t id = 0; id < e->vocabulary && e->stop_count <= r->most_stops; id++) {
        if (tokenizer_is_end(e->tokenizer, (int32_t)id)) {
            e->stops[e->stop_count++] = (int32_t)id;
        }
    }
    e->here_tokens = FIRST_HERE;
    e->run_limit = e->run_count;
    return 0;
}

void infer_close_remote(struct infer_engine *e)
{
    free(e->runs);
    free(e->run_pages);
    free(e->stops);
}

uint32_t infer_remote_count(const struct infer_engine *e, enum remote_state state)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->run_count; i++) {
        n += e->runs[i].state == state;
    }
    return n;
}

uint32_t infer_remote_quarantined(const struct infer_engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->run_count; i++) {
        n += e->runs[i].state == REMOTE_LOST ? e->runs[i].page_count : 0;
    }
    return n;
}

void infer_remote_note_step(struct infer_engine *e, uint32_t tokens, uint64_t ns)
{
    if (!e->options.runner || !tokens || !ns) {
        return;
    }
    uint64_t fit = (uint64_t)STEP_HERE_NS * tokens / ns;
    // A short step says little about a long one.
    uint64_t most = 4ull * tokens;
    fit = fit < most ? fit : most;
    e->here_tokens = fit < 1 ? 1 : fit > UINT32_MAX ? UINT32_MAX : (uint32_t)fit;
}

// ---- what runs hold ----------------------------------------------------------------------------

static void hold_pages(struct infer_engine *e, struct remote_run *run)
{
    const struct infer_sequence *s = run->sequence;
    run->first_page = s->done / TN_KV_PAGE_TOKENS;
    run->page_count = s->page_count - run->first_page;
    for (uint32_t i = 0; i < run->page_count; i++) {
        run->pages[i] = s->pages[run->first_page + i];
        pages_hold(&e->store, run->pages[i]);
    }
    e->remote_pages += run->page_count;
}

static void release_run(struct infer_engine *e, struct remote_run *run)
{
    e->remote_pages -= run->page_count;
    e->draining -= run->state == REMOTE_DRAINING;
    while (run->page_count) {
        pages_release(&e->store, run->pages[--run->page_count]);
    }
    if (run->sequence) {
        run->sequence->run = NULL;
    }
    run->sequence = NULL;
    run->state = REMOTE_FREE;
}

void infer_remote_leave(struct infer_engine *e, struct infer_sequence *s)
{
    struct remote_run *run = s->run;
    s->run = NULL;
    run->sequence = NULL;
    run->state = REMOTE_DRAINING;
    e->draining++;
    if (run->most == 0 || run->made < run->most) { // else it ends by itself now
        const struct infer_runner *r = e->options.runner;
        r->cancel(r->ctx, (uint32_t)(run - e->runs));
    }
}

// ---- what the runner says ----------------------------------------------------------------------

static void take_token(struct infer_engine *e, struct remote_run *run, int32_t id)
{
    struct infer_sequence *s = run->sequence;
    run->made++;
    if (!s) { // it was stopped, or finished
        return;
    }
    s->rng.counter += s->request.sampling.temperature > 0;
    e->stats.remote_tokens++;
    if (!s->request.ignore_end && tokenizer_is_end(e->tokenizer, id)) {
        infer_finish(e, s, INFER_STOP);
        return;
    }
    infer_append(e, s, id);
}

// The runner did not want it, or broke it off: what is stored is what was there before.
static void refuse_run(struct infer_engine *e, struct remote_run *run, bool for_ever)
{
    struct infer_sequence *s = run->sequence;
    release_run(e, run);
    uint32_t others = infer_remote_count(e, REMOTE_RUNNING);
    if (s && !for_ever && others) { // it takes no more at once: this one waits for another's end
        e->run_limit = others;
    } else if (s) {
        s->stays_here |= for_ever;
        s->here_until = s->count + TRY_AGAIN_AFTER;
    }
}

static void end_run(struct infer_engine *e, struct remote_run *run, bool stopped)
{
    struct infer_sequence *s = run->sequence;
    if (!s) {
        release_run(e, run);
        return;
    }
    if (run->most && !run->made && !stopped) { // it may not even have read its tokens
        refuse_run(e, run, false);
        return;
    }
    uint32_t read = run->most == 0 ? run->until : s->count - (stopped ? 0 : 1);
    uint32_t prompt = at_most(read, s->prompt_count);
    e->stats.prompt_tokens += prompt > s->done ? prompt - s->done : 0;
    infer_advance(e, s, read);
    release_run(e, run);
    e->run_limit += e->run_limit < e->run_count; // perhaps it takes more by now
    if (stopped || (s->request.logits && read == s->count)) {
        infer_finish(e, s, INFER_STOP);
    }
}

static void lose_run(struct infer_engine *e, struct remote_run *run)
{
    struct infer_sequence *s = run->sequence;
    e->stats.lost_runs++;
    e->draining -= run->state == REMOTE_DRAINING;
    run->state = REMOTE_LOST;
    run->sequence = NULL;
    if (run->page_count) { // nobody copies from it any more
        pages_spoil(&e->store, run->pages[0]);
    }
    if (!s) {
        return;
    }
    s->run = NULL;
    s->losses = s->count == s->lost_at ? s->losses + 1 : 0;
    s->lost_at = s->count;
    if (s->losses >= MOST_LOSSES) { // or it would not get on where runs are always lost
        s->here_until = s->count + 1;
    }
    while (s->page_count > run->first_page) {
        pages_release(&e->store, s->pages[--s->page_count]);
    }
    s->done = run->first_page * TN_KV_PAGE_TOKENS;
}

static void take_event(struct infer_engine *e, const struct infer_event *event)
{
    struct remote_run *run = event->run < e->run_count ? &e->runs[event->run] : NULL;
    if (!run || run->state == REMOTE_FREE) {
        return;
    }
    bool lost = run->state == REMOTE_LOST;
    switch (event->kind) {
    case INFER_RUN_TOKEN:
        if (!lost) {
            take_token(e, run, event->token);
        }
        break;
    case INFER_RUN_STOP:
    case INFER_RUN_LENGTH:
    case INFER_RUN_CANCELLED:
        if (lost) {
            release_run(e, run);
        } else {
            end_run(e, run, event->kind == INFER_RUN_STOP);
        }
        break;
    case INFER_RUN_BUSY:
    case INFER_RUN_REFUSED:
        refuse_run(e, run, event->kind == INFER_RUN_REFUSED);
        break;
    case INFER_RUN_LOST:
        if (!lost) {
            lose_run(e, run);
        }
        break;
    case INFER_RUN_QUIET:
        release_run(e, run);
        break;
    }
}

// Time that passed with runs under way: the prompts' as long as none of them has made a token.
static void count_time(struct infer_engine *e)
{
    uint64_t now = e->options.now_ns ? e->options.now_ns() : 0;
    bool any = false, made = false;
    for (uint32_t i = 0; i < e->run_count; i++) {
        any |= e->runs[i].state == REMOTE_RUNNING;
        made |= e->runs[i].state == REMOTE_RUNNING && e->runs[i].made;
    }
    if (any && e->bound_entries == 0) { // else the step's own time has been counted
        *(made ? &e->stats.decode_ns : &e->stats.prompt_ns) += now - e->remote_ns;
    }
    e->remote_ns = now;
}

void infer_remote_look(struct infer_engine *e)
{
    const struct infer_runner *r = e->options.runner;
    struct infer_event event;
    if (!r) {
        return;
    }
    count_time(e);
    for (int i = 0; i < EVENTS_A_LOOK && r->next(r->ctx, &event); i++) {
        take_event(e, &event);
    }
}

// ---- handing over ------------------------------------------------------------------------------

static struct remote_run *free_run(struct infer_engine *e)
{
    for (uint32_t i = 0; i < e->run_count; i++) {
        if (e->runs[i].state == REMOTE_FREE) {
            return &e->runs[i];
        }
    }
    return NULL;
}

static bool any_under_way(const struct infer_engine *e)
{
    return infer_remote_count(e, REMOTE_RUNNING) + e->draining > 0;
}

// Positions that a run writes: the last token it makes is not read.
static uint32_t positions(uint32_t until, uint32_t most)
{
    return until + (most ? most - 1 : 0);
}

// How many tokens a run may make so that its pages are there, and one whole context of them stays
// with nobody else. False: not even one.
static bool fit_run(const struct infer_engine *e, const struct infer_sequence *s, uint32_t until,
                    uint32_t *most)
{
    uint32_t first = s->done / TN_KV_PAGE_TOKENS;
    uint32_t kept = e->remote_pages + e->pages_per_sequence, total = e->limits.kv_page_total;
    uint32_t allowed = total > kept ? total - kept + first : 0;
    uint32_t have = s->page_count + pages_available(&e->store);
    uint64_t room = (uint64_t)at_most(allowed, have) * TN_KV_PAGE_TOKENS;
    if (positions(until, *most) <= room) {
        return true;
    }
    if (*most == 0 || until > room) {
        return false;
    }
    *most = (uint32_t)(room - until + 1);
    return true;
}

// Younger sequences give way, one at a time. False: there is none.
static bool make_room(struct infer_engine *e, const struct infer_sequence *s)
{
    struct infer_sequence *youngest = e->running[e->running_count - 1];
    if (youngest == s || pages_available(&e->store) >= e->pages_per_sequence) {
        return false;
    }
    infer_stop_running(e, youngest);
    infer_enqueue(e, youngest);
    return true;
}

static int start_run(struct infer_engine *e, struct infer_sequence *s, struct remote_run *run,
                     uint32_t until, uint32_t most)
{
    const struct infer_runner *r = e->options.runner;
    const struct tn_sampling *sampling = &s->request.sampling;
    bool penalties = sampling->repeat_penalty != 1.0f || sampling->presence_penalty != 0 ||
                     sampling->frequency_penalty != 0;
    uint32_t history = penalties ? at_most(s->done, sampling->repeat_last) : 0;
    struct infer_run x = {
        .tokens = s->tokens + s->done - history,
        .history_count = history,
        .token_count = until - s->done,
        .position = s->done,
        .most_tokens = most,
        .kv_pages = s->pages,
        .kv_page_count = s->page_count,
        .sampling = sampling,
        .counter = s->rng.counter,
        .stops = e->stops,
        .stop_count = s->request.ignore_end ? 0 : e->stop_count,
        .logits = until == s->count ? s->request.logits : NULL,
    };
    int rc = r->start(r->ctx, (uint32_t)(run - e->runs), &x);
    if (rc) {
        return rc;
    }
    run->state = REMOTE_RUNNING;
    run->sequence = s;
    run->until = until;
    run->most = most;
    run->made = 0;
    s->run = run;
    hold_pages(e, run);
    e->stats.remote_runs++;
    return 0;
}

// 0: its run has begun; -EAGAIN: it waits; else it is computed here.
static int hand_over(struct infer_engine *e, struct infer_sequence *s)
{
    const struct infer_runner *r = e->options.runner;
    struct remote_run *run = free_run(e);
    if (s->stays_here || s->count < s->here_until ||
        (!s->request.ignore_end && e->stop_count > r->most_stops)) {
        return -ENOTSUP;
    }
    if (!run || infer_remote_count(e, REMOTE_RUNNING) >= e->run_limit) {
        return any_under_way(e) ? -EAGAIN : -ENOLINK;
    }
    uint32_t until = s->count, most = at_most(r->most_tokens, s->space - s->count);
    if (until - s->done > r->most_prompt) {
        until = s->done + r->most_prompt;
        most = 0;
    }
    while (!fit_run(e, s, until, &most)) {
        if (e->draining || !make_room(e, s)) {
            return any_under_way(e) ? -EAGAIN : -ENOLINK;
        }
    }
    uint32_t before = s->page_count;
    if (!infer_reserve(e, s, positions(until, most))) {
        return -EAGAIN;
    }
    int rc = start_run(e, s, run, until, most);
    while (rc && s->page_count > before) { // those that were taken for the run alone
        pages_release(&e->store, s->pages[--s->page_count]);
    }
    s->stays_here |= rc == -ENOTSUP;
    return rc == -EAGAIN || rc == 0 ? rc : -ENOLINK;
}

void infer_remote_start(struct infer_engine *e)
{
    if (!e->options.runner) {
        return;
    }
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct infer_sequence *s = e->running[i];
        if (!s->run) {
            s->waits = hand_over(e, s) == -EAGAIN;
        }
    }
}
