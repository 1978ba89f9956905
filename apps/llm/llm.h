// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The workload: one model behind the HTTP API. Everything but the functions marked otherwise runs
// on the HTTP server's strand.
#ifndef APPS_LLM_LLM_H
#define APPS_LLM_LLM_H

#include "apps/llm/engine.h"
#include "apps/llm/request.h"
#include "libos/http.h"

enum llm_state { LLM_LOADING, LLM_READY, LLM_FAILED };

struct exchange;
struct llm {
    // Constant once state is LLM_READY (or, problem, LLM_FAILED); state is stored with release.
    _Atomic int state;
    char problem[400];
    struct tn_model *model;
    struct tn_model_info info;
    const struct tokenizer *tokenizer;
    struct engine *engine;
    char name[128];
    const char *source; // "mapped (virtio-pmem)", … for people
    long created;       // wall clock, seconds

    // The server strand's.
    struct http_server *http;
    struct exchange *exchanges; // all that are not freed, oldest first
    uint32_t live, aside;       // of them for the engine, for the reader alone
    bool pumping;
    uint64_t id_next;
    // Requests answered with an error before they became jobs: wrong ones, one too many.
    _Atomic uint64_t refused, turned_away;

    atomic_bool posted;                // a pump is on its way to the server's strand
    bool reading;                      // the reader strand runs; llm_open's
    _Atomic(struct exchange *) unread; // a stack: pushed by the server, emptied by the reader
};

// ---- any strand ----------------------------------------------------------------------------
// Opens model and engine and makes the workload ready, or failed with the reason. name may be ""
// (the file's own) and needs not last; data must. 0 or a negative errno.
int llm_open(struct llm *l, const void *data, size_t bytes, const char *name, const char *source,
             const struct engine_options *options);
// A job has text or is finished: a pump goes to the server's strand. Nonzero: could not be passed
// on, tell again.
int llm_news(void *llm);
void llm_fail(struct llm *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum llm_state llm_state(const struct llm *l);

// ---- the server's strand ---------------------------------------------------------------------
// Registers all routes on l->http.
void llm_routes(struct llm *l);

// Routes, by file.
void llm_models_get(struct http_request *r, void *llm);
void llm_props_get(struct http_request *r, void *llm);
void llm_metrics_get(struct http_request *r, void *llm);
void llm_page_get(struct http_request *r, void *llm);
void llm_refuse(struct http_request *r, const struct fault *f);
// Sends t as JSON (503 if it could not be built) and frees it.
void llm_reply(struct http_request *r, struct text *t, const char *type);

// ---- the reader's strand, or any other that may take its time ---------------------------------
// Prompt of a parsed request as token ids (malloc'ed), all of them in the vocabulary, at least one.
// 0, or -EINVAL with f set.
int llm_prompt_ids(const struct llm *l, const struct completion *c, int32_t **ids, size_t *count,
                   struct fault *f);
int llm_text_ids(const struct llm *l, const char *text, size_t bytes, unsigned flags, int32_t **ids,
                 size_t *count, struct fault *f);
// {"content":…} to {"tokens":[…]} and back.
int llm_tokenize(const struct llm *l, const json_t *root, struct text *out, struct fault *f);
int llm_detokenize(const struct llm *l, const json_t *root, struct text *out, struct fault *f);

#endif
