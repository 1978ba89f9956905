// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sessions over an executor: admission, prefill in chunks beside decodes, sampling, stopping. One
// owner thread calls everything here; requests are callbacks on that thread.
#ifndef TENSOR_INFER_H
#define TENSOR_INFER_H

#include "tensor/exec.h"

struct tn_sampling {
    float temperature;    // 0 = greedy
    uint32_t top_k;       // 0 = off
    float top_p, min_p;   // 1 and 0 = off
    float repeat_penalty; // 1 = off
    uint32_t repeat_last; // tokens looked back
    float presence_penalty, frequency_penalty;
    uint64_t seed;
};
// llama-server's defaults (facts), seed from the caller.
struct tn_sampling tn_sampling_default(void);

// INFER_ERROR: the executor failed, or the logits are no finite numbers (damaged weights).
enum infer_finish { INFER_STOP, INFER_LENGTH, INFER_CANCELLED, INFER_ERROR };

struct infer_engine;
struct infer_sequence;

// The callbacks may submit and cancel requests, their own included; they must not step the engine.
struct infer_request {
    const int32_t *tokens; // copied
    size_t token_count;
    uint32_t max_tokens; // 0: until the context is full
    bool ignore_end;     // go on past end-of-generation tokens
    struct tn_sampling sampling;
    // Not NULL: no token is made. The last token's logits are written here, room for one row, then
    // it finishes as INFER_STOP. The prompt may fill the whole context.
    float *logits;
    // A token was made (not for the end token itself). Return nonzero to finish as INFER_STOP (stop
    // strings).
    int (*on_token)(void *ctx, int32_t id);
    void (*on_finish)(void *ctx, enum infer_finish why, uint32_t prompt_tokens, uint32_t made);
    void *ctx;
};

// ---- runs elsewhere ----------------------------------------------------------------------------
// A runner computes whole runs of a sequence somewhere else (a tensor call to the host) on the same
// KV pages: it reads tokens, makes up to so many, and posts each as it is made. The engine keeps
// admission, pages and prefixes, and goes on by itself from where a runner stopped. Everything is
// called by the engine's owner; nothing here waits.
struct infer_run {
    const int32_t *tokens;  // history_count that are in the KV store, for penalties, then new ones
    uint32_t history_count; //
    uint32_t token_count;   // new, at least 1
    uint32_t position;      // of the first new token
    uint32_t most_tokens;   // to be made; 0: the tokens are read only
    const uint32_t *kv_pages; // for all positions that are written
    uint32_t kv_page_count;
    const struct tn_sampling *sampling;
    uint64_t counter;     // draws of sampling->seed so far; a token is one draw unless greedy
    const int32_t *stops; // end the run, and are not posted
    uint32_t stop_count;
    float *logits; // the last token's row goes here before the run ends; NULL: not wanted
};
enum infer_event_kind {
    INFER_RUN_TOKEN,
    // The run ended, its pages are written no more. K and V of its tokens, and of those it made
    // but the last (with STOP: the last too), are stored.
    INFER_RUN_STOP,
    INFER_RUN_LENGTH,
    INFER_RUN_CANCELLED,
    // The run ended, its pages are written no more, but what they hold does not count: later
    // perhaps; or never for this sequence.
    INFER_RUN_BUSY,
    INFER_RUN_REFUSED,
    // Nothing more is known of the run: its pages may still be written. QUIET follows when they are
    // certainly not, perhaps never.
    INFER_RUN_LOST,
    INFER_RUN_QUIET,
};
struct infer_event {
    uint32_t run;
    enum infer_event_kind kind;
    int32_t token; // of INFER_RUN_TOKEN, in the vocabulary
};
struct infer_runner {
    void *ctx;
    uint32_t most_runs;   // at once; runs are numbered from 0 by the engine
    uint32_t most_tokens; // that one run makes
    uint32_t most_prompt; // that one run reads
    uint32_t most_stops;
    // What r points to is copied. 0; -EAGAIN: soon, wait for it; -ENOLINK: not there now, compute
    // it here; -ENOTSUP: never this one.
    int (*start)(void *ctx, uint32_t run, const struct infer_run *r);
    void (*cancel)(void *ctx, uint32_t run);          // it ends as CANCELLED, or as it would
    bool (*next)(void *ctx, struct infer_event *out); // false: nothing now
};

struct infer_options {
    uint32_t slots;           // sequences running at once, default 8
    uint32_t queue;           // waiting requests, default 64
    uint32_t context;         // positions a sequence may use; 0 = model's
    uint32_t prefill_chunk;   // tokens of one prompt a step takes beside decodes, default 64
    uint64_t (*now_ns)(void); // for statistics
    // Prompts that begin alike share their full KV pages, and copy the first one that differs.
    // Changes no bit of any result.
    bool no_sharing;
    // Speculation: tokens are guessed and checked many in one step. What comes out is bit for bit
    // what came out without it, at any temperature: the model's own draw decides on each guess.
    uint32_t lookup; // tokens guessed at most by what followed the last few before; 0: off
    // A cheaper model of the same vocabulary that guesses, and its executor, used by nobody else:
    // kv_page_total and max_sequences for all slots, max_tokens as the model's. NULL: off.
    const struct tn_model *draft_model;
    struct tn_executor *draft;
    uint32_t draft_tokens; // it guesses at most, default 4
    // Sequences run there when it takes them; NULL: all is computed here. The KV store should hold
    // two whole contexts or more: one always stays free of runs. It must outlive the engine.
    const struct infer_runner *runner;
};
struct infer_stats {
    uint64_t prompt_tokens, made_tokens, requests, finished[4];
    uint64_t prompt_ns, decode_ns, steps;
    uint64_t reused_tokens;                   // of prompts: their K and V were there already
    uint64_t drafted_tokens, accepted_tokens; // guessed, and right
    uint32_t running, waiting, kv_pages_used, kv_pages_total;
    uint32_t kv_pages_cached, kv_pages_shared; // held by nobody; by several sequences
    uint64_t remote_runs, remote_tokens;       // of made_tokens, those by the runner
    uint64_t lost_runs;
    // Runs under way; pages that lost runs may still write.
    uint32_t remote_running, kv_pages_quarantined;
};

// 0; -EINVAL: the draft model or its executor does not fit; -ENOMEM.
enum { INFER_PAGE_BYTES = 192 }; // of its own memory, for each KV page
int infer_open(const struct tn_model *m, struct tn_executor *x, const struct infer_options *o,
               struct infer_engine **out);
void infer_close(struct infer_engine *e);
// 0; -E2BIG (prompt does not fit the context), -EAGAIN (queue full), -EINVAL (bad id, empty prompt,
// a model that embeds).
int infer_submit(struct infer_engine *e, const struct infer_request *r,
                 struct infer_sequence **out);
// on_finish(INFER_CANCELLED) follows at once; its pages are free after it. A handle is good until
// its on_finish.
void infer_cancel(struct infer_engine *e, struct infer_sequence *s);
// One step over everything that is ready, fair between sequences. Returns sequences still running
// or waiting.
uint32_t infer_step(struct infer_engine *e);
// After a step: nothing can be computed here now, everything waits for the runner. The owner may
// sleep until the runner has news.
bool infer_waits(const struct infer_engine *e);
// Forgets what is cached of finished sequences: before somebody else writes to the executor's
// pages, which is allowed when nothing runs.
void infer_forget(struct infer_engine *e);
void infer_get_stats(const struct infer_engine *e, struct infer_stats *out);

// Sampling alone, for tests and other callers. logits is scratch and changed; recent = last tokens
// for penalties.

// Random numbers that depend on the seed and on how many were drawn before, on nothing else: a
// sequence goes on elsewhere with the same numbers.
struct tn_rng {
    uint64_t seed, counter;
};
void tn_rng_seed(struct tn_rng *r, uint64_t seed);
// What is allowed at all, applied to logits before tn_sample. mask: a bit a token, NULL: all.
struct tn_logit_bias {
    int32_t token;
    float bias; // added; -infinity forbids
};
struct tn_logit_rules {
    const uint8_t *mask; // (vocabulary + 7) / 8 bytes, the lowest bit first
    const struct tn_logit_bias *biases;
    size_t bias_count;
};
void tn_apply_rules(float *logits, uint32_t vocabulary, const struct tn_logit_rules *rules);
int32_t tn_sample(float *logits, uint32_t vocabulary, const struct tn_sampling *s,
                  struct tn_rng *rng, const int32_t *recent, size_t recent_count);

#endif
