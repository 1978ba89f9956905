// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The runner's way to a host: attach, allocate the buffer, open the model, check that it is ours;
// and back when the host is lost. Step by step, by completions: nobody waits.
#include "hypercall/guest/runner_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARED_BYTES = 4096, PAGE = 4096, USUAL_TOKENS = 128 };

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

uint8_t *runner_memory(const struct hc_runner *r, uint64_t at)
{
    return r->client->region + r->base + at;
}

void runner_say(const struct hc_runner *r, bool problem, const char *format, ...)
{
    char line[240];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (r->options.say) {
        r->options.say(r->options.say_ctx, problem, line);
    }
}

static void unfit(struct hc_runner *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void unfit(struct hc_runner *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->problem, sizeof r->problem, format, args);
    va_end(args);
    r->step = RUNNER_UNFIT;
    r->step_tag = 0;
    runner_say(r, true, "the host cannot compute for this machine: %s", r->problem);
}

// ---- where things lie --------------------------------------------------------------------------

static void lay_out(struct hc_runner *r)
{
    const struct hc_runner_options *o = &r->options;
    uint64_t pages = (o->context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    r->pages_at = round_up(sizeof(struct hc_run), HC_ALIGN);
    r->tokens_at = r->pages_at + round_up(pages * sizeof(uint32_t), HC_ALIGN);
    r->run_bytes = r->tokens_at + round_up((uint64_t)o->context * sizeof(int32_t), HC_ALIGN);
    r->shared_at = r->run_bytes * o->runs;
    r->logits_at = r->shared_at + SHARED_BYTES;
    r->kv_at = round_up(r->logits_at + o->vocabulary * sizeof(float), PAGE);
    r->bytes = r->kv_at + o->kv_page_bytes * o->kv_page_total;
}

uint64_t hc_runner_overhead(const struct hc_runner_options *o)
{
    struct hc_runner *r = calloc(1, sizeof *r);
    if (!r) {
        return UINT64_MAX;
    }
    r->options = *o;
    lay_out(r);
    uint64_t bytes = r->kv_at;
    free(r);
    return bytes;
}

uint32_t hc_runner_tokens(uint32_t runs_at_once)
{
    uint32_t room = HC_COMPLETION_COUNT - HC_COMPLETION_RESERVE - HC_CALLS_IN_FLIGHT;
    uint32_t most = room / (runs_at_once ? runs_at_once : 1);
    return most > USUAL_TOKENS ? USUAL_TOKENS : most > 1 ? most - 1 : 1;
}

// ---- steps -------------------------------------------------------------------------------------

static void submit_step(struct hc_runner *r, enum runner_step step, uint16_t call,
                        const uint64_t argument[6])
{
    int rc = hc_submit(r->client, call, argument, 0, &r->step_tag);
    if (rc == 0) {
        r->step = step;
    } else if (rc != -ENOLINK) { // the rings are empty after attaching
        unfit(r, "its rings are full");
    }
}

static void allocate(struct hc_runner *r)
{
    submit_step(r, RUNNER_ALLOCATING, HC_ALLOC, (uint64_t[6]){r->bytes});
}

static void open_model(struct hc_runner *r)
{
    struct hc_model_open open = {.identity = r->options.identity, .kv_type = r->options.kv_type};
    memcpy(runner_memory(r, r->shared_at), &open, sizeof open);
    submit_step(r, RUNNER_OPENING, HC_MODEL_OPEN, (uint64_t[6]){r->buffer, r->shared_at});
}

static void take_buffer(struct hc_runner *r, const struct hc_completion *c)
{
    uint64_t at = c->value[1];
    if (c->status) {
        unfit(r, "it has no %llu KB of the shared region for us: %s",
              (unsigned long long)(r->bytes >> 10), hc_status_name((uint32_t)-c->status));
    } else if (!hc_in_arena(r->client, at, r->bytes) || at % HC_ALIGN) {
        hc_distrust(r->client);
    } else if (r->base && at != r->base) { // K and V lie where the old one was
        unfit(r, "it puts the KV store elsewhere than before");
    } else {
        r->buffer = c->value[0];
        r->base = at;
        open_model(r);
    }
}

static void take_model(struct hc_runner *r, const struct hc_completion *c)
{
    struct hc_model_open m;
    const struct hc_runner_options *o = &r->options;
    memcpy(&m, runner_memory(r, r->shared_at), sizeof m);
    if (c->status) {
        unfit(r, "the model with this identity does not open there: %s",
              hc_status_name((uint32_t)-c->status));
    } else if (m.vocabulary != o->vocabulary || m.layers != o->layers ||
               m.kv_heads != o->kv_heads || m.head_dim != o->head_dim ||
               m.kv_page_bytes != o->kv_page_bytes) {
        unfit(r, "its model is another one than ours");
    } else if (m.context < o->context) {
        unfit(r, "its model has a context of %u tokens, ours of %u", m.context, o->context);
    } else {
        r->model = c->value[0];
        r->step = RUNNER_READY;
        if (r->told_down) {
            runner_say(r, false, "the host computes again (epoch %u)", r->client->epoch);
        }
        r->told_down = false;
    }
}

void runner_setup_answer(struct hc_runner *r, const struct hc_completion *c)
{
    r->step_tag = 0;
    if (r->step == RUNNER_ALLOCATING) {
        take_buffer(r, c);
    } else if (r->step == RUNNER_OPENING) {
        take_model(r, c);
    }
}

// ---- losing and finding ------------------------------------------------------------------------

static void lose_runs(struct hc_runner *r)
{
    for (uint32_t i = 0; i < r->options.runs; i++) {
        struct runner_run *run = &r->runs[i];
        if (run->tag) {
            run->tag = 0;
            run->lost = true;
            runner_tell(r, i, INFER_RUN_LOST, 0);
        }
    }
}

// A host that serves another generation of us touches nothing of the old one any more.
static void quieten_runs(struct hc_runner *r)
{
    for (uint32_t i = 0; i < r->options.runs; i++) {
        if (r->runs[i].lost) {
            r->runs[i].lost = false;
            runner_tell(r, i, INFER_RUN_QUIET, 0);
        }
    }
    r->logits_taken = false;
}

static void say_why_down(struct hc_runner *r)
{
    const struct hc_client *c = r->client;
    if (c->link == HC_LINK_GONE) {
        runner_say(r, true, "%s; this machine computes by itself from now on",
                   hc_loss_name(HC_LOSS_GONE));
    } else if (c->loss == HC_LOSS_CUT_OFF) {
        runner_say(r, true, "%s (%s); it computes by itself until the host's worker is another one",
                   hc_loss_name(c->loss), hc_status_name(c->reason));
    } else {
        runner_say(r, true, "%s; this machine computes by itself meanwhile", hc_loss_name(c->loss));
    }
    r->told_down = true;
}

void runner_sync(struct hc_runner *r)
{
    struct hc_client *c = r->client;
    bool gone = c->link == HC_LINK_GONE && r->attach != UINT64_MAX;
    if (r->step != RUNNER_UNATTACHED && (c->link != HC_LINK_UP || c->attaches != r->attach)) {
        lose_runs(r);
        bool known = r->step == RUNNER_READY;
        r->step = RUNNER_UNATTACHED;
        r->step_tag = 0;
        if (known) {
            say_why_down(r);
            gone = false;
        }
    }
    if (c->link == HC_LINK_GONE) {
        if (gone) {
            say_why_down(r);
        }
        r->attach = UINT64_MAX;
    }
    if (c->link == HC_LINK_UP && r->step == RUNNER_UNATTACHED) {
        r->attach = c->attaches;
        quieten_runs(r);
        allocate(r);
    }
}

// ---- opening -----------------------------------------------------------------------------------

static int await_host(struct hc_runner *r, uint64_t deadline)
{
    struct hc_client *c = r->client;
    const struct hc_port *p = &c->port;
    for (;;) {
        hc_look(c);
        runner_sync(r);
        if (r->step == RUNNER_READY) {
            return 0;
        }
        if (r->step == RUNNER_UNFIT) {
            return -ENOTSUP;
        }
        if (c->link == HC_LINK_GONE) {
            snprintf(r->problem, sizeof r->problem, "%s", hc_loss_name(HC_LOSS_GONE));
            return -ENOLINK;
        }
        uint64_t now = p->now_ns(p->ctx);
        if (now >= deadline) {
            snprintf(r->problem, sizeof r->problem, "no host serves the shared region (%s)",
                     c->loss ? hc_loss_name(c->loss) : hc_link_name(c->link));
            return -ETIMEDOUT;
        }
        if (hc_sleep_begin(c)) {
            uint64_t own = hc_sleep_deadline(c, now);
            p->wait(p->ctx, own < deadline ? own : deadline);
            hc_sleep_end(c);
        }
    }
}

int hc_runner_open(struct hc_client *c, const struct hc_runner_options *o, uint32_t timeout_ms,
                   struct hc_runner **out, char *error, size_t error_bytes)
{
    struct hc_runner *r = calloc(1, sizeof *r);
    if (!r) {
        snprintf(error, error_bytes, "not enough memory");
        return -ENOMEM;
    }
    r->client = c;
    r->options = *o;
    lay_out(r);
    r->infer = (struct infer_runner){.ctx = r,
                                     .most_runs = o->runs,
                                     .most_tokens = o->most_tokens,
                                     .most_prompt = HC_MOST_PROMPT,
                                     .most_stops = HC_MOST_STOPS};
    runner_functions(r);
    int rc = 0;
    if (o->runs == 0 || o->runs > HC_MOST_RUNS || o->most_tokens == 0 ||
        r->bytes > c->region_bytes - HC_ARENA) {
        snprintf(r->problem, sizeof r->problem,
                 "the shared region of %llu KB is too small: %llu KB are needed",
                 (unsigned long long)(c->region_bytes >> 10),
                 (unsigned long long)((r->bytes + HC_ARENA) >> 10));
        rc = -ENOSPC;
    } else {
        rc = await_host(r, c->port.now_ns(c->port.ctx) + timeout_ms * 1000000ull);
    }
    if (rc) {
        snprintf(error, error_bytes, "%s", r->problem);
        hc_runner_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

void hc_runner_close(struct hc_runner *r)
{
    if (r) {
        r->client->deliver = NULL;
        free(r);
    }
}
