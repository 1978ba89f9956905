// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Routes, the states in which they answer, and opening the model.
#include "apps/llm/exchange.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum llm_state llm_state(const struct llm *l)
{
    return (enum llm_state)atomic_load_explicit(&l->state, memory_order_acquire);
}

void llm_fail(struct llm *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->problem, sizeof l->problem, format, args);
    va_end(args);
    port_log(PORT_ERROR, "%s", l->problem);
    atomic_store_explicit(&l->state, LLM_FAILED, memory_order_release);
}

// ---- the model -------------------------------------------------------------------------------
static void pump(void *ctx)
{
    struct llm *l = ctx;
    atomic_store_explicit(&l->posted, false, memory_order_seq_cst); // news after this post again
    exchange_pump(l);
}

int llm_news(void *ctx)
{
    struct llm *l = ctx;
    if (atomic_exchange_explicit(&l->posted, true, memory_order_seq_cst))
        return 0;
    int rc = port_post(pump, l);
    if (rc)
        atomic_store_explicit(&l->posted, false, memory_order_seq_cst);
    return rc;
}

// Names come out of files: whole UTF-8 only, no control characters.
static void set_name(struct llm *l, const char *name)
{
    char clean[sizeof l->name * 3 + 16];
    struct utf8_stream u = {0};
    size_t room = sizeof l->name - 1;
    size_t n = utf8_stream_push(&u, name, strlen(name) < room ? strlen(name) : room, true, clean);
    while (n > room) // cut at a whole character
        while (n && ((unsigned char)clean[--n] & 0xc0) == 0x80) {
        }
    for (size_t i = 0; i < n; i++)
        l->name[i] = (unsigned char)clean[i] < 0x20 || clean[i] == 0x7f ? ' ' : clean[i];
    l->name[n] = 0;
}

int llm_open(struct llm *l, const void *data, size_t bytes, const char *name, const char *source,
             const struct engine_options *options)
{
    char error[300] = "";
    struct engine_options o = *options;
    o.news = llm_news;
    o.news_ctx = l;
    int rc = tn_model_open(data, bytes, &l->model, error, sizeof error);
    if (rc) {
        llm_fail(l, "the model (%s) cannot be used: %s", source, error[0] ? error : strerror(-rc));
        return rc;
    }
    tn_model_info(l->model, &l->info);
    l->tokenizer = tn_model_tokenizer(l->model);
    tokenizer_set_pause(port_pause);
    body_set_pause(port_pause);
    if (!l->reading && (rc = port_start(PORT_READER, reader_run, l))) {
        llm_fail(l, "the reader's strand did not start (%d)", rc);
        return rc;
    }
    l->reading = true;
    rc = engine_open(l->model, &o, &l->engine, error, sizeof error);
    if (rc) {
        llm_fail(l, "the engine does not start: %s", error[0] ? error : strerror(-rc));
        tn_model_close(l->model);
        l->model = NULL;
        return rc;
    }
    const struct engine_facts *f = engine_facts(l->engine);
    set_name(l, name && name[0] ? name : l->info.name);
    l->source = source;
    l->created = (long)time(NULL);
    atomic_store_explicit(&l->state, LLM_READY, memory_order_release); // who waits goes first
    port_log(PORT_INFO, "%s: %s, %llu K parameters, context %u, %u slots, %s, KV %llu KB, %s",
             l->name, l->info.architecture, (unsigned long long)l->info.parameters / 1000,
             f->context, f->slots, tn_isa_name(f->isa), (unsigned long long)(f->memory_bytes >> 10),
             source);
    return 0;
}

// ---- prompts ---------------------------------------------------------------------------------
static int too_long(struct fault *f, size_t tokens, bool at_least, uint32_t context)
{
    return fault_set(f, 400, "exceed_context_size_error",
                     "the prompt has %s%zu tokens; the context holds %u, the answer included",
                     at_least ? "at least " : "", tokens, context);
}

// What cannot fit whatever its tokens are is refused before any work is spent on it.
static int check_bytes(const struct llm *l, size_t bytes, struct fault *f)
{
    uint32_t context = engine_facts(l->engine)->context;
    size_t least = bytes / tokenizer_longest(l->tokenizer);
    return least > context ? too_long(f, least, true, context) : 0;
}

static int encode(const struct llm *l, const struct chat_prompt *chat, const char *text,
                  size_t bytes, unsigned flags, int32_t **ids, size_t *count, struct fault *f)
{
    // A token is at least a byte, but for BOS, EOS and a prefix space of a few bytes.
    size_t room = bytes + 16;
    int32_t *out = malloc(room * sizeof *out);
    if (!out)
        return fault_set(f, UNAVAILABLE, "not enough memory for a prompt of %zu bytes", bytes);
    long n = chat ? chat_encode(l->tokenizer, chat, out, room)
                  : tokenizer_encode(l->tokenizer, text, bytes, flags, out, room);
    if (n < 0 || (size_t)n > room) {
        free(out);
        if (n == -ENOMEM)
            return fault_set(f, UNAVAILABLE, "not enough memory for a prompt of %zu bytes", bytes);
        return fault_set(f, BAD_REQUEST, "the text cannot be tokenised (%ld)", n);
    }
    *ids = out;
    *count = (size_t)n;
    return 0;
}

int llm_text_ids(const struct llm *l, const char *text, size_t bytes, unsigned flags, int32_t **ids,
                 size_t *count, struct fault *f)
{
    return encode(l, NULL, text, bytes, flags, ids, count, f);
}

static int chat_ids(const struct llm *l, const struct completion *c, int32_t **ids, size_t *count,
                    struct fault *f)
{
    struct chat_prompt p;
    char error[256] = "";
    size_t bytes = 0;
    for (size_t i = 0; i < c->message_count; i++)
        bytes += c->messages[i].content_bytes;
    int rc = check_bytes(l, bytes, f);
    if (rc)
        return rc;
    rc = chat_render(l->info.chat, c->messages, c->message_count, &p, error, sizeof error);
    if (rc == -ENOTSUP)
        return fault_set(f, NOT_SUPPORTED, "%s", error);
    if (rc == -ENOMEM)
        return fault_set(f, UNAVAILABLE, "not enough memory for the prompt");
    if (rc)
        return fault_set(f, BAD_REQUEST, "%s", error);
    rc = encode(l, &p, NULL, p.bytes, 0, ids, count, f);
    chat_prompt_free(&p);
    return rc;
}

static int check_ids(const struct llm *l, const int32_t *ids, size_t count, struct fault *f)
{
    if (!count)
        return fault_set(f, BAD_REQUEST, "prompt is empty");
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= l->info.vocabulary)
            return fault_set(f, BAD_REQUEST,
                             "prompt[%zu]: token %d is not in the vocabulary of %u tokens", i,
                             ids[i], l->info.vocabulary);
    return 0;
}

int llm_prompt_ids(const struct llm *l, const struct completion *c, int32_t **ids, size_t *count,
                   struct fault *f)
{
    int rc = 0;
    *ids = NULL;
    if (c->messages) {
        rc = chat_ids(l, c, ids, count, f);
    } else if (c->prompt) {
        rc = check_bytes(l, c->prompt_bytes, f);
        if (!rc)
            rc = llm_text_ids(l, c->prompt, c->prompt_bytes,
                              TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, ids, count, f);
    } else {
        *ids = malloc((c->id_count + 1) * sizeof **ids);
        if (!*ids)
            return fault_set(f, UNAVAILABLE, "not enough memory for the prompt");
        memcpy(*ids, c->ids, c->id_count * sizeof **ids);
        *count = c->id_count;
    }
    uint32_t context = engine_facts(l->engine)->context;
    if (!rc && *count >= context)
        rc = too_long(f, *count, false, context);
    else if (!rc)
        rc = check_ids(l, *ids, *count, f);
    if (rc) {
        free(*ids);
        *ids = NULL;
    }
    return rc;
}

// ---- answers ---------------------------------------------------------------------------------
void llm_refuse(struct http_request *r, const struct fault *f)
{
    http_reply_error(r, f->status, f->type, "%s", f->message);
}

void llm_reply(struct http_request *r, struct text *t, const char *type)
{
    if (t->failed)
        http_reply_error(r, 503, "unavailable_error", "not enough memory for the answer");
    else
        http_reply(r, 200, type ? type : "application/json; charset=utf-8", t->data, t->bytes);
    text_free(t);
}

// ---- routes ------------------------------------------------------------------------------------
static void health_get(struct http_request *r, void *llm)
{
    (void)llm;
    http_reply_json(r, 200, "{\"status\":\"ok\"}");
}

static struct llm *the_llm; // for guard(): a route's context is its handler

static const struct route {
    const char *method, *path;
    unsigned flags;
    http_handler handler; // NULL: what the reader makes of the body
    enum exchange_kind kind;
} routes[] = {
    {"GET", "/health", HTTP_PUBLIC, health_get, 0},
    {"GET", "/v1/models", HTTP_PUBLIC, llm_models_get, 0},
    {"GET", "/", HTTP_PUBLIC, llm_page_get, 0},
    {"GET", "/props", 0, llm_props_get, 0},
    {"GET", "/metrics", 0, llm_metrics_get, 0},
    {"POST", "/v1/completions", 0, NULL, EXCHANGE_COMPLETION},
    {"POST", "/v1/chat/completions", 0, NULL, EXCHANGE_CHAT},
    {"POST", "/v1/embeddings", 0, NULL, EXCHANGE_EMBEDDINGS},
    {"POST", "/tokenize", 0, NULL, EXCHANGE_TOKENIZE},
    {"POST", "/detokenize", 0, NULL, EXCHANGE_DETOKENIZE},
    {"POST", "/logits", 0, NULL, EXCHANGE_LOGITS},
};

// Nothing answers as if it worked before the model does.
static void guard(struct http_request *r, void *ctx)
{
    const struct route *route = ctx;
    enum llm_state state = llm_state(the_llm);
    if (state == LLM_READY && route->handler)
        route->handler(r, the_llm);
    else if (state == LLM_READY)
        exchange_start(the_llm, r, route->kind);
    else if (state == LLM_LOADING)
        http_reply_error(r, 503, "unavailable_error", "Loading model");
    else
        http_reply_error(r, 503, "unavailable_error", "%s", the_llm->problem);
}

void llm_routes(struct llm *l)
{
    the_llm = l;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        http_route(l->http, routes[i].method, routes[i].path, routes[i].flags, guard,
                   (void *)(uintptr_t)&routes[i]);
}
