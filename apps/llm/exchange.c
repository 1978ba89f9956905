// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From a checked request to its last byte: starts the job, passes its text on as the client takes
// it, frees everything once job and request are both over.
#include "apps/llm/exchange.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Needs no slot of the engine's.
static bool is_text_only(enum exchange_kind kind)
{
    return kind == EXCHANGE_TOKENIZE || kind == EXCHANGE_DETOKENIZE;
}

static void release(struct exchange *x)
{
    struct exchange **at = &x->llm->exchanges;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    *(is_text_only(x->kind) ? &x->llm->aside : &x->llm->live) -= 1;
    completion_free(&x->request);
    text_free(&x->text);
    free(x->body);
    free(x->job.tokens);
    free(x->job.logits);
    free(x->job.vectors);
    free(x->job.text_ends);
    free(x);
}

// ---- answers ---------------------------------------------------------------------------------
// Sends a piece of the stream. True: gone out. False: the client is slow or gone.
static bool send(struct exchange *x, struct text *t)
{
    if (t->failed) { // no memory for a frame: the request ends, the others go on
        text_free(t);
        x->starved = true;
        job_cancel(&x->job);
        return false;
    }
    int rc = t->bytes ? http_write(x->http, t->data, t->bytes) : 0;
    text_free(t);
    x->opened |= rc == 0;
    if (rc == -EAGAIN)
        x->blocked = true;
    return rc == 0;
}

// A chat answer that begins with the space of a word piece begins without it.
static size_t leading_space(const struct exchange *x, const char *text, size_t bytes)
{
    return x->kind == EXCHANGE_CHAT && !x->said && bytes && text[0] == ' ';
}

// The stream's beginning; its first event goes out with what follows it, so that it cannot get lost
// where the client is slow.
static void begin_stream(struct exchange *x, struct text *out)
{
    if (!x->begun)
        http_begin(x->http, 200, "text/event-stream");
    x->begun = true;
    if (!x->opened)
        frame_first(x, out);
}

// Passes waiting text on. True: none is left.
static bool pass_text(struct exchange *x)
{
    static char waiting[JOB_RING]; // the server has one strand
    size_t n;
    while (x->http && !x->blocked && !x->starved && (n = job_peek(&x->job, waiting)) > 0) {
        size_t skip = leading_space(x, waiting, n);
        if (!x->request.stream) {
            text_put(&x->text, waiting + skip, n - skip);
        } else {
            struct text t = {0};
            begin_stream(x, &t);
            if (n > skip)
                frame_piece(x, waiting + skip, n - skip, &t);
            if (!send(x, &t))
                return false;
        }
        x->said = true;
        job_take(&x->job, n);
    }
    return !x->blocked;
}

static void answer_whole(struct exchange *x)
{
    struct fault f;
    struct text t = {0};
    struct http_request *r = x->http;
    x->http = NULL;
    if (exchange_fault(x, &f)) {
        llm_refuse(r, &f);
    } else if (x->text.failed) {
        http_reply_error(r, 503, "unavailable_error", "not enough memory for the answer");
    } else if (x->kind == EXCHANGE_LOGITS) {
        http_reply(r, 200, "application/octet-stream", x->job.logits,
                   (size_t)x->llm->info.vocabulary * sizeof(float));
    } else if (is_text_only(x->kind)) {
        llm_reply(r, &x->text, NULL);
    } else {
        if (x->kind == EXCHANGE_EMBEDDINGS)
            embeddings_frame(x, &t);
        else
            frame_whole(x, &t);
        llm_reply(r, &t, NULL);
    }
}

static void answer_end(struct exchange *x)
{
    struct fault f;
    struct text t = {0};
    if (!x->begun && exchange_fault(x, &f)) {
        answer_whole(x); // still time for a proper status
        return;
    }
    begin_stream(x, &t);
    if (exchange_fault(x, &f))
        frame_error(f.status, f.type, f.message, &t);
    else
        frame_last(x, &t);
    if (x->http && !x->blocked && (t.failed || send(x, &t)) && x->http) {
        struct http_request *r = x->http;
        x->http = NULL;
        http_end(r);
    }
    if (t.data)
        text_free(&t);
}

// May free x.
static void advance(struct exchange *x)
{
    bool finished = job_finished(&x->job); // before the text, so that none of it is missed
    if (x->http && pass_text(x) && finished) {
        if (x->request.stream)
            answer_end(x);
        else
            answer_whole(x);
    }
    if (!x->http && finished)
        release(x);
}

void exchange_pump(struct llm *l)
{
    bool outer = !l->pumping;
    l->pumping = true;
    for (struct exchange *x = l->exchanges, *next; x && outer; x = next) {
        next = x->next;
        advance(x);
    }
    if (outer)
        l->pumping = false;
}

// ---- what the server calls ---------------------------------------------------------------------
static void on_gone(void *ctx)
{
    struct exchange *x = ctx;
    x->http = NULL;
    if (!job_finished(&x->job))
        job_cancel(&x->job); // freed when the engine has let go of it
    else if (!x->llm->pumping)
        release(x);
}

static void on_drain(void *ctx)
{
    struct exchange *x = ctx;
    x->blocked = false;
    if (!x->llm->pumping)
        advance(x);
}

// ---- starting ----------------------------------------------------------------------------------
static void make_id(struct llm *l, const char *prefix, char *out, size_t size)
{
    uint64_t chance; // drawn anew: a saved machine may run twice
    port_random(&chance, sizeof chance);
    snprintf(out, size, "%s-%016llx%08llx", prefix, (unsigned long long)chance,
             (unsigned long long)++l->id_next);
}

static struct exchange *make(struct llm *l, enum exchange_kind kind, const char *body, size_t bytes)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->llm = l;
    x->kind = kind;
    x->created = (long)time(NULL);
    x->job.arrived_ns = port_now_ns();
    make_id(l, kind == EXCHANGE_CHAT ? "chatcmpl" : "cmpl", x->id, sizeof x->id);
    x->body_bytes = bytes;
    x->body = malloc(bytes + 1);
    if (!x->body) {
        free(x);
        return NULL;
    }
    memcpy(x->body, body, bytes);
    x->body[bytes] = 0;
    return x;
}

void exchange_start(struct llm *l, struct http_request *r, enum exchange_kind kind)
{
    const struct engine_facts *facts = engine_facts(l->engine);
    size_t bytes;
    const char *body = http_body(r, &bytes);
    struct exchange *x = NULL;
    uint32_t *like = is_text_only(kind) ? &l->aside : &l->live;
    if (*like >= facts->slots + facts->queue)
        http_reply_error(r, UNAVAILABLE,
                         "too many requests: %u run or wait already; try again later", *like);
    else if (!(x = make(l, kind, body, bytes)))
        http_reply_error(r, UNAVAILABLE, "not enough memory for the request; try again later");
    if (!x) {
        count(&l->turned_away, 1);
        return;
    }
    x->http = r;
    struct exchange **end = &l->exchanges;
    while (*end)
        end = &(*end)->next;
    *end = x;
    ++*like;
    // With it a client that has shut its side counts as gone, which only work of unknown length is
    // worth: the reader's own answers come soon, whoever waits for them.
    if (!is_text_only(kind))
        http_on_gone(r, on_gone, x);
    http_on_drain(r, on_drain, x);
    reader_submit(l, x);
}
