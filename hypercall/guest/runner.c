// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs by HC_RUN: the arguments are written into the run's part of the buffer, completions become
// events. Setting up and losing the host: runner_setup.c.
#include "hypercall/guest/runner_private.h"

#include <errno.h>
#include <string.h>

enum { MOST_HISTORY = 1024 }; // tokens that the host looks back for penalties
// A worker that ends is replaced by another one soon: computing is not begun here before that.
#define GRACE_NS 400000000ull

const struct infer_runner *hc_runner_infer(const struct hc_runner *r)
{
    return &r->infer;
}
void *hc_runner_kv(const struct hc_runner *r)
{
    return runner_memory(r, r->kv_at);
}
bool hc_runner_ready(const struct hc_runner *r)
{
    return r->step == RUNNER_READY;
}

void runner_tell(struct hc_runner *r, uint32_t run, enum infer_event_kind kind, int32_t token)
{
    r->events[r->tail++ % RUNNER_EVENTS] = (struct infer_event){run, kind, token};
}

// ---- completions -------------------------------------------------------------------------------

static void take_token(struct hc_runner *r, uint32_t i, const struct hc_completion *c)
{
    struct runner_run *run = &r->runs[i];
    if (c->value[0] >= r->options.vocabulary || c->value[1] != run->made + 1u) {
        hc_distrust(r->client);
        return;
    }
    run->made++;
    runner_tell(r, i, INFER_RUN_TOKEN, (int32_t)c->value[0]);
}

static enum infer_event_kind end_of(const struct hc_completion *c)
{
    switch (-c->status) {
    case HC_OK:
        return c->value[0] == HC_REASON_STOP ? INFER_RUN_STOP : INFER_RUN_LENGTH;
    case HC_CANCELLED:
        return INFER_RUN_CANCELLED;
    case HC_BUSY:
    case HC_QUOTA:
    case HC_NO_MEMORY:
    case HC_TOO_LONG:
        return INFER_RUN_BUSY;
    default:
        return INFER_RUN_REFUSED;
    }
}

static void take_end(struct hc_runner *r, uint32_t i, const struct hc_completion *c)
{
    struct runner_run *run = &r->runs[i];
    enum infer_event_kind kind = end_of(c);
    if (c->status == HC_OK && (c->value[0] > HC_REASON_LENGTH || c->value[1] != run->made)) {
        hc_distrust(r->client);
        return;
    }
    if (run->logits && c->status == HC_OK) {
        memcpy(run->logits, runner_memory(r, r->logits_at), r->options.vocabulary * sizeof(float));
    }
    if (kind == INFER_RUN_REFUSED) {
        runner_say(r, true, "the host refused a run: %s", hc_status_name((uint32_t)-c->status));
    }
    r->logits_taken = r->logits_taken && r->logits_run != i;
    run->tag = 0;
    runner_tell(r, i, kind, 0);
}

static void deliver(void *ctx, const struct hc_completion *c)
{
    struct hc_runner *r = ctx;
    if (r->step_tag && c->tag == r->step_tag) {
        runner_setup_answer(r, c);
        return;
    }
    for (uint32_t i = 0; c->call == HC_RUN && i < r->options.runs; i++) {
        if (r->runs[i].tag == c->tag) {
            if (c->kind == HC_TOKEN) {
                take_token(r, i, c);
            } else {
                take_end(r, i, c);
            }
            return;
        }
    } // anything else is the answer to a cancellation, or came too late
}

// ---- the engine's side -------------------------------------------------------------------------

static struct hc_span span(const struct hc_runner *r, uint64_t at)
{
    return (struct hc_span){.buffer = (uint32_t)r->buffer, .offset = at};
}

static void write_run(const struct hc_runner *r, uint64_t at, const struct infer_run *x)
{
    // What is not sampled needs no sampling, which has to be sound all the same.
    static const struct tn_sampling none = {.top_p = 1, .repeat_penalty = 1};
    const struct tn_sampling *s = x->most_tokens ? x->sampling : &none;
    struct hc_run run = {
        .model = (uint32_t)r->model,
        .kv = span(r, r->kv_at),
        .kv_page_total = r->options.kv_page_total,
        .kv_page_count = x->kv_page_count,
        .kv_pages = span(r, at + r->pages_at),
        .tokens = span(r, at + r->tokens_at),
        .history_count = x->history_count,
        .token_count = x->token_count,
        .position = x->position,
        .most_tokens = x->most_tokens,
        .temperature = s->temperature,
        .top_p = s->top_p,
        .min_p = s->min_p,
        .repeat_penalty = s->repeat_penalty,
        .presence_penalty = s->presence_penalty,
        .frequency_penalty = s->frequency_penalty,
        .top_k = s->top_k,
        .repeat_last = s->repeat_last,
        .seed = s->seed,
        .counter = x->counter,
        .stop_count = x->stop_count,
    };
    if (x->stop_count) {
        memcpy(run.stops, x->stops, x->stop_count * sizeof(int32_t));
    }
    if (x->logits) {
        run.logits = span(r, r->logits_at);
        run.logit_rows = 1;
    }
    uint8_t *to = runner_memory(r, at);
    memcpy(to + r->pages_at, x->kv_pages, x->kv_page_count * sizeof(uint32_t));
    memcpy(to + r->tokens_at, x->tokens,
           ((size_t)x->history_count + x->token_count) * sizeof(int32_t));
    memcpy(to, &run, sizeof run);
}

// A host that is expected back at any moment is waited for.
static int not_there(const struct hc_runner *r)
{
    const struct hc_client *c = r->client;
    bool hope = r->step == RUNNER_ALLOCATING || r->step == RUNNER_OPENING ||
                (r->step == RUNNER_UNATTACHED && c->loss == HC_LOSS_RESTARTING);
    uint64_t now = c->port.now_ns(c->port.ctx);
    return hope && now < c->down_since_ns + GRACE_NS ? -EAGAIN : -ENOLINK;
}

static int start(void *ctx, uint32_t i, const struct infer_run *x)
{
    struct hc_runner *r = ctx;
    runner_sync(r);
    if (r->step != RUNNER_READY) {
        return not_there(r);
    }
    if (i >= r->options.runs || r->runs[i].tag || r->runs[i].lost) {
        return -ENOLINK;
    }
    if (x->stop_count > HC_MOST_STOPS || x->history_count > MOST_HISTORY ||
        (uint64_t)x->history_count + x->token_count > r->options.context) {
        return -ENOTSUP;
    }
    if (x->logits && r->logits_taken) {
        return -EAGAIN;
    }
    uint64_t at = r->run_bytes * i, tag;
    write_run(r, at, x);
    int rc = hc_submit(r->client, HC_RUN, (uint64_t[6]){r->buffer, at}, x->most_tokens, &tag);
    if (rc) {
        return rc;
    }
    r->runs[i] = (struct runner_run){.tag = tag, .most = x->most_tokens, .logits = x->logits};
    if (x->logits) {
        r->logits_taken = true;
        r->logits_run = i;
    }
    return 0;
}

static void cancel(void *ctx, uint32_t i)
{
    struct hc_runner *r = ctx;
    uint64_t tag;
    if (i < r->options.runs && r->runs[i].tag) {
        r->runs[i].logits = NULL; // its owner may go away
        // Without room for it the run ends as it would.
        hc_submit(r->client, HC_CANCEL, (uint64_t[6]){r->runs[i].tag}, 0, &tag);
    }
}

static bool next(void *ctx, struct infer_event *out)
{
    struct hc_runner *r = ctx;
    if (r->head == r->tail) {
        hc_look(r->client);
        runner_sync(r);
    }
    if (r->head == r->tail) {
        return false;
    }
    *out = r->events[r->head++ % RUNNER_EVENTS];
    return true;
}

void runner_functions(struct hc_runner *r)
{
    r->infer.start = start;
    r->infer.cancel = cancel;
    r->infer.next = next;
    r->client->deliver = deliver;
    r->client->deliver_ctx = r;
}
