// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine strand: takes jobs from its inbox, steps the inference engine, turns ids into text.
#include "apps/llm/engine_private.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct engine_facts *engine_facts(const struct engine *e)
{
    return &e->facts;
}
const struct engine_metrics *engine_metrics(const struct engine *e)
{
    return &e->metrics;
}

const struct offload *engine_offload(const struct engine *e)
{
    return &e->offload;
}

// ---- the ring ------------------------------------------------------------------------------
size_t job_peek(const struct job *j, char *out)
{
    size_t head = atomic_load_explicit(&j->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&j->tail, memory_order_relaxed);
    size_t at = tail % JOB_RING, waiting = head - tail;
    size_t first = waiting < JOB_RING - at ? waiting : JOB_RING - at;
    memcpy(out, j->ring + at, first);
    memcpy(out + first, j->ring, waiting - first);
    return waiting;
}

void job_take(struct job *j, size_t bytes)
{
    size_t tail = atomic_load_explicit(&j->tail, memory_order_relaxed);
    atomic_store_explicit(&j->tail, tail + bytes, memory_order_release);
}

bool job_finished(const struct job *j)
{
    return atomic_load_explicit(&j->finished, memory_order_acquire);
}

static size_t ring_room(const struct job *j)
{
    return JOB_RING - (atomic_load_explicit(&j->head, memory_order_relaxed) -
                       atomic_load_explicit(&j->tail, memory_order_acquire));
}

// Publishes whole characters at once, so that the reader never sees half of one.
static void ring_put(struct job *j, const char *text, size_t bytes)
{
    size_t head = atomic_load_explicit(&j->head, memory_order_relaxed);
    for (size_t i = 0; i < bytes; i++)
        j->ring[(head + i) % JOB_RING] = text[i];
    atomic_store_explicit(&j->head, head + bytes, memory_order_release);
}

// ---- jobs in ----------------------------------------------------------------------------------
void engine_submit(struct engine *e, struct job *j)
{
    struct job *top = atomic_load_explicit(&e->inbox, memory_order_relaxed);
    do {
        j->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&e->inbox, &top, j, memory_order_release,
                                                    memory_order_relaxed));
    port_wake(PORT_ENGINE);
}

void job_cancel(struct job *j)
{
    atomic_store_explicit(&j->cancelled, true, memory_order_relaxed);
    port_wake(PORT_ENGINE);
}

static void tell(struct engine *e)
{
    e->untold = e->options.news(e->options.news_ctx) != 0;
}

static void unlink_job(struct engine *e, struct job *j)
{
    for (struct job **at = &e->jobs; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            return;
        }
}

static void publish(struct engine *e)
{
    struct infer_stats s;
    infer_get_stats(e->infer, &s);
    atomic_store_explicit(&e->metrics.running, s.running, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.waiting, s.waiting, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.pages_used, s.kv_pages_used, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.pages_cached, s.kv_pages_cached, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.pages_shared, s.kv_pages_shared, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.reused_tokens, s.reused_tokens, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.prompt_tokens, s.prompt_tokens, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.made_tokens, s.made_tokens, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.prompt_ns, s.prompt_ns, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.decode_ns, s.decode_ns, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.steps, s.steps, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.host_tokens, s.remote_tokens, memory_order_relaxed);
    atomic_store_explicit(&e->metrics.pages_quarantined, s.kv_pages_quarantined,
                          memory_order_relaxed);
    offload_publish(&e->offload);
}

static void end_job(struct engine *e, struct job *j, enum job_end end)
{
    uint64_t now = port_now_ns();
    unlink_job(e, j);
    j->end = end;
    if (!j->logits_only && !j->bench) {
        count(&e->metrics.ended[end], 1);
        if (end == JOB_STOPPED || end == JOB_LENGTH) {
            histogram_add(&e->metrics.whole, now - j->arrived_ns);
            if (j->first_ns)
                histogram_add(&e->metrics.decode, now - j->first_ns);
        }
    }
    publish(e); // who has its answer finds it counted
    atomic_store_explicit(&j->finished, true, memory_order_release); // j may be gone from here on
    tell(e);
}

// ---- what the inference engine calls -----------------------------------------------------------
static void note_time(struct engine *e, struct job *j)
{
    uint64_t now = port_now_ns();
    if (!j->first_ns) {
        if (!j->started_ns)
            j->started_ns = now;
        j->first_ns = now;
        histogram_add(&e->metrics.first_token, now - j->arrived_ns);
        histogram_add(&e->metrics.prefill, now - j->started_ns);
    } else {
        histogram_add(&e->metrics.inter_token, now - j->last_ns);
    }
    j->last_ns = now;
}

// Shows text in the job's ring. False: no room, the job must end.
static bool show(const struct engine *e, struct job *j, size_t bytes)
{
    size_t n = stop_push(&j->stopping, e->whole, bytes, e->shown);
    // What is held back and the stream's last character must still fit at the end.
    if (n + STOP_MAX_BYTES + 16 > ring_room(j))
        return false;
    ring_put(j, e->shown, n);
    return true;
}

static int on_token(void *ctx, int32_t id)
{
    struct job *j = ctx;
    struct engine *e = j->engine;
    note_time(e, j);
    long n = tokenizer_piece(tn_model_tokenizer(e->model), id, false, e->piece, e->piece_bytes);
    if (n > 0) {
        size_t bytes = (size_t)n < e->piece_bytes ? (size_t)n : e->piece_bytes;
        size_t whole = utf8_stream_push(&j->utf8, e->piece, bytes, false, e->whole);
        if (whole && !show(e, j, whole))
            j->overrun = true;
        if (whole)
            tell(e);
    }
    return j->overrun || j->stopping.stopped ||
           atomic_load_explicit(&j->cancelled, memory_order_relaxed);
}

static void on_finish(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    struct job *j = ctx;
    struct engine *e = j->engine;
    j->prompt_tokens = prompt;
    j->made_tokens = made;
    if (!j->overrun && !j->stopping.stopped) {
        // show() has kept room for this.
        size_t whole = utf8_stream_push(&j->utf8, "", 0, true, e->whole);
        ring_put(j, e->shown, stop_push(&j->stopping, e->whole, whole, e->shown));
        ring_put(j, e->shown, stop_flush(&j->stopping, e->shown));
    }
    enum job_end end = why == INFER_LENGTH  ? JOB_LENGTH
                       : why == INFER_ERROR ? JOB_FAILED
                       : why == INFER_STOP  ? JOB_STOPPED
                                            : JOB_CANCELLED;
    if (j->overrun)
        end = JOB_OVERRUN;
    else if (end == JOB_STOPPED && !j->stopping.stopped &&
             atomic_load_explicit(&j->cancelled, memory_order_relaxed))
        end = JOB_CANCELLED;
    end_job(e, j, end);
}

// ---- the loop ----------------------------------------------------------------------------------
static void take_inbox(struct engine *e)
{
    struct job *top = atomic_exchange_explicit(&e->inbox, NULL, memory_order_acquire);
    struct job *oldest = NULL;
    while (top) { // the inbox is a stack
        struct job *next = top->next;
        top->next = oldest;
        oldest = top;
        top = next;
    }
    struct job **end = &e->jobs;
    while (*end)
        end = &(*end)->next;
    *end = oldest;
}

static void cancel_marked(struct engine *e)
{
    for (struct job *j = e->jobs, *next; j; j = next) {
        next = j->next;
        if (!atomic_load_explicit(&j->cancelled, memory_order_relaxed))
            continue;
        if (j->sequence)
            infer_cancel(e->infer, j->sequence);
        else
            end_job(e, j, JOB_CANCELLED);
    }
}

static void submit(struct engine *e, struct job *j)
{
    struct infer_request r = {.tokens = j->tokens,
                              .token_count = j->token_count,
                              .max_tokens = j->max_tokens,
                              .ignore_end = j->ignore_end,
                              .sampling = j->sampling,
                              .logits = j->logits_only ? j->logits : NULL,
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .ctx = j};
    j->engine = e;
    j->stopping.strings = &j->stop;
    int rc = infer_submit(e->infer, &r, &j->sequence);
    if (rc) {
        j->sequence = NULL;
        j->error = rc;
        end_job(e, j, JOB_REFUSED);
    }
}

// Embeddings use the KV pages that nobody holds, and benches want the host for themselves: they
// wait until nothing runs, and what comes after them waits until they are through.
static void submit_new(struct engine *e)
{
    struct infer_stats s;
    infer_get_stats(e->infer, &s);
    for (struct job *j = e->jobs, *next; j; j = next) {
        next = j->next;
        if (j->sequence)
            continue;
        if (!j->bench && !j->vectors) {
            submit(e, j);
            continue;
        }
        if (s.running || s.waiting)
            return;
        if (j->bench)
            offload_bench(&e->offload, j->bench);
        else
            j->error = engine_embed(e, j);
        end_job(e, j, j->error ? JOB_REFUSED : JOB_STOPPED);
    }
}

// The first jobs are admitted first: all but the youngest `waiting` have begun.
static void note_started(struct engine *e, uint32_t waiting, uint64_t now)
{
    uint32_t fresh = 0;
    for (struct job *j = e->jobs; j; j = j->next)
        fresh += j->sequence && !j->started_ns;
    for (struct job *j = e->jobs; j && fresh > waiting; j = j->next)
        if (j->sequence && !j->started_ns) {
            j->started_ns = now;
            histogram_add(&e->metrics.queued, now - j->arrived_ns);
            fresh--;
        }
}

void engine_run(void *arg)
{
    struct engine *e = arg;
    for (;;) {
        take_inbox(e);
        cancel_marked(e);
        submit_new(e);
        uint64_t begun = port_now_ns();
        struct infer_stats s;
        uint32_t left = infer_step(e->infer);
        infer_get_stats(e->infer, &s);
        note_started(e, s.waiting, begun);
        publish(e);
        if (e->untold)
            tell(e);
        // Anything new wakes the strand; what could not be told is tried again soon.
        bool idle = !atomic_load_explicit(&e->inbox, memory_order_relaxed);
        if (idle && infer_waits(e->infer))
            offload_sleep(&e->offload, e->untold ? 5 : 1000);
        else if (left)
            port_yield();
        else if (idle && !e->jobs)
            port_wait(PORT_ENGINE, e->untold ? 5 : offload_idle_ms(&e->offload));
    }
}
