// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The reader's strand: bodies to jobs. Parsing and tokenising a megabyte takes long enough to be
// felt, so it is not done where the network runs, and it lets others run every few hundred steps.
#include "apps/llm/exchange.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdlib.h>

static int take_prompt(struct exchange *x)
{
    struct job *j = &x->job;
    struct completion *c = &x->request;
    int rc = llm_prompt_ids(x->llm, c, &j->tokens, &j->token_count, &x->refusal);
    if (rc)
        return rc;
    j->max_tokens = c->max_tokens;
    j->ignore_end = c->ignore_end;
    j->sampling = c->sampling;
    j->stop = c->stop;
    if (!c->seed_given)
        port_random(&j->sampling.seed, sizeof j->sampling.seed);
    return 0;
}

// {"prompt": text or ids} or {"tokens": ids}: the last position's row, float32, little-endian.
static int read_logits(struct exchange *x)
{
    struct completion *c = &x->request;
    struct fault *f = &x->refusal;
    const json_t *tokens = json_object_get(c->root, "tokens"),
                 *prompt = json_object_get(c->root, "prompt");
    if (json_is_string(prompt)) {
        c->prompt = json_string_value(prompt);
        c->prompt_bytes = json_string_length(prompt);
    } else if (json_is_array(tokens) || json_is_array(prompt)) {
        bool named = json_is_array(tokens);
        int rc = ids_parse(named ? tokens : prompt, named ? "tokens" : "prompt", &c->ids,
                           &c->id_count, f);
        if (rc)
            return rc;
    } else {
        return fault_set(f, BAD_REQUEST,
                         "prompt must be a string, or tokens an array of token ids");
    }
    x->job.logits_only = true;
    x->job.logits = malloc((size_t)x->llm->info.vocabulary * sizeof(float));
    if (!x->job.logits)
        return fault_set(f, UNAVAILABLE, "not enough memory for a row of logits");
    return take_prompt(x);
}

static int read_body(struct exchange *x)
{
    struct fault *f = &x->refusal;
    struct completion *c = &x->request;
    bool text_only = x->kind == EXCHANGE_TOKENIZE || x->kind == EXCHANGE_DETOKENIZE;
    if (x->llm->info.embeds && x->kind != EXCHANGE_EMBEDDINGS && !text_only)
        return fault_set(f, NOT_SUPPORTED,
                         "%s makes embeddings of texts (/v1/embeddings) and foretells no tokens",
                         x->llm->name);
    if (x->kind == EXCHANGE_COMPLETION || x->kind == EXCHANGE_CHAT) {
        int rc = completion_parse(x->body, x->body_bytes, x->kind == EXCHANGE_CHAT, c, f);
        return rc ? rc : take_prompt(x);
    }
    c->root = body_parse(x->body, x->body_bytes, f);
    if (!c->root)
        return -EINVAL;
    return x->kind == EXCHANGE_TOKENIZE     ? llm_tokenize(x->llm, c->root, &x->text, f)
           : x->kind == EXCHANGE_DETOKENIZE ? llm_detokenize(x->llm, c->root, &x->text, f)
           : x->kind == EXCHANGE_EMBEDDINGS ? embeddings_read(x, c->root)
                                            : read_logits(x);
}

// True: the exchange ended here and the server's strand has to hear of it.
static bool read_one(struct llm *l, struct exchange *x)
{
    struct job *j = &x->job;
    bool cancelled = atomic_load_explicit(&j->cancelled, memory_order_relaxed);
    if (!cancelled && read_body(x)) { // the engine ends and counts what was cancelled
        count(&l->refused, 1);
        j->end = JOB_REFUSED;
    } else if (x->kind == EXCHANGE_TOKENIZE || x->kind == EXCHANGE_DETOKENIZE) {
        j->end = JOB_STOPPED;
    } else {
        free(x->body); // it may be large, and the answer long
        x->body = NULL;
        engine_submit(l->engine, j); // x may be gone from here on
        return false;
    }
    atomic_store_explicit(&j->finished, true, memory_order_release); // or from here
    return true;
}

void reader_submit(struct llm *l, struct exchange *x)
{
    struct exchange *top = atomic_load_explicit(&l->unread, memory_order_relaxed);
    do {
        x->next_unread = top;
    } while (!atomic_compare_exchange_weak_explicit(&l->unread, &top, x, memory_order_release,
                                                    memory_order_relaxed));
    port_wake(PORT_READER);
}

void reader_run(void *arg)
{
    struct llm *l = arg;
    struct exchange *waiting = NULL, **end = &waiting; // oldest first
    bool untold = false;
    for (;;) {
        struct exchange *top = atomic_exchange_explicit(&l->unread, NULL, memory_order_acquire);
        struct exchange *fresh = NULL, *last = top;
        while (top) { // the stack's top came last
            struct exchange *next = top->next_unread;
            top->next_unread = fresh;
            fresh = top;
            top = next;
        }
        if (fresh) {
            *end = fresh;
            end = &last->next_unread;
        }
        struct exchange *x = waiting;
        if (x) {
            waiting = x->next_unread;
            if (!waiting)
                end = &waiting;
            untold |= read_one(l, x);
        }
        if (untold)
            untold = llm_news(l) != 0;
        if (x)
            port_yield();
        else
            port_wait(PORT_READER, untold ? 5 : 0);
    }
}
