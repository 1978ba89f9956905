// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine strand and the jobs it is given. The server's strand makes a job and hands it over;
// the engine fills its ring with text that may be shown and says when it is finished; the server
// frees it.
#ifndef APPS_LLM_ENGINE_H
#define APPS_LLM_ENGINE_H

#include "apps/llm/metrics.h"
#include "apps/llm/offload.h"
#include "apps/llm/stop.h"
#include "tensor/infer.h"

// Text waiting for a slow client; when it is full the job is cancelled, so that nobody else waits.
#define JOB_RING 8192u

enum job_end {
    JOB_STOPPED,   // end of generation or a stop string
    JOB_LENGTH,    // max_tokens or the context
    JOB_CANCELLED, // by job_cancel
    JOB_OVERRUN,   // the client did not take its text
    JOB_REFUSED,   // infer_submit said no: see error
    JOB_FAILED,    // the executor failed
    JOB_END_COUNT
};

struct job {
    // Set before engine_submit, constant afterwards.
    int32_t *tokens;
    size_t token_count;
    uint32_t max_tokens;
    bool ignore_end, logits_only;
    struct tn_sampling sampling;
    struct stop_strings stop;  // texts belong to the job's maker
    float *logits;             // logits_only: room for one row
    struct calls_bench *bench; // not NULL: nothing else is done
    float *vectors;            // embeddings: room for one a text; NULL: none wanted
    size_t *text_ends;         // where each text's tokens end
    size_t text_count;
    uint64_t arrived_ns;

    // The engine's alone.
    struct job *next;
    struct infer_sequence *sequence;
    struct engine *engine;
    struct utf8_stream utf8;
    struct stop_stream stopping;
    bool overrun;
    uint64_t started_ns, first_ns, last_ns;

    // Both: the engine writes ring and head, the reader tail; release and acquire order the bytes.
    char ring[JOB_RING];
    _Atomic size_t head, tail;
    atomic_bool cancelled;
    // The engine's last write (release). What follows is valid once it is true.
    atomic_bool finished;
    enum job_end end;
    int error;
    uint32_t prompt_tokens, made_tokens;
};

struct engine_options {
    uint32_t slots, queue, context; // 0: defaults; context is bounded by the model and memory
    const char *isa;                // "" or NULL: measured or best
    bool measure_isa;
    struct offload_options offload;
    // On the engine strand: some job has text or is finished. Nonzero: could not pass it on, ask
    // again.
    int (*news)(void *ctx);
    void *news_ctx;
};
struct engine_facts {
    uint32_t slots, queue, context, kv_pages, kv_type;
    enum tn_isa isa;
    uint64_t memory_bytes;
};
struct engine_metrics {
    struct histogram first_token, inter_token, whole, queued, prefill, decode;
    _Atomic uint64_t ended[JOB_END_COUNT];
    _Atomic uint64_t prompt_tokens, made_tokens, prompt_ns, decode_ns,
        steps;                      // of the engine's steps
    _Atomic uint64_t reused_tokens; // of prompts: read before, for others that begin alike
    _Atomic uint64_t host_tokens;   // of made_tokens
    _Atomic uint64_t pages_quarantined;
    _Atomic uint64_t running, waiting, pages_used, pages_cached, pages_shared; // gauges
};

struct engine;
// Opens the executor and starts the strand. The model must stay. Errors say what to do.
int engine_open(const struct tn_model *m, const struct engine_options *o, struct engine **out,
                char *error, size_t error_bytes);
const struct engine_facts *engine_facts(const struct engine *e);
const struct engine_metrics *engine_metrics(const struct engine *e);
const struct offload *engine_offload(const struct engine *e);
// Any strand. The job belongs to the engine until finished.
void engine_submit(struct engine *e, struct job *j);
void job_cancel(struct job *j);
// The reader's side of the ring: copies what waits (whole characters) to out, which has room for
// JOB_RING bytes, and takes the first bytes away.
size_t job_peek(const struct job *j, char *out);
void job_take(struct job *j, size_t bytes);
bool job_finished(const struct job *j);

#endif
