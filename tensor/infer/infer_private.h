// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the engine: sequences, the page store, the queue.
#ifndef TENSOR_INFER_PRIVATE_H
#define TENSOR_INFER_PRIVATE_H

#include "tensor/infer.h"
#include "tensor/infer/pages.h"

#include <stdbool.h>

enum sequence_state { SEQUENCE_FREE, SEQUENCE_WAITING, SEQUENCE_RUNNING };

struct infer_sequence {
    enum sequence_state state;
    uint64_t age;    // order of submission; lower is older, and never taken pages from by younger
    int32_t *tokens; // prompt, then what was made; room for `space`
    uint32_t count, prompt_count, space;
    uint32_t done;  // tokens whose K and V are stored
    uint32_t batch; // tokens in the step under way, 0: none
    // Speculation: tokens behind `count` that are only guessed, how many are worth guessing, and of
    // the draft model the tokens whose K and V it has.
    uint32_t drafted, draft_length, draft_done;
    struct tn_rng draft_rng;
    uint32_t *pages; // while running
    uint32_t page_count;
    // Runs elsewhere: the one under way; a later one is near, nothing is computed here; never; not
    // before it has so many tokens.
    struct remote_run *run;
    bool waits, stays_here;
    uint32_t here_until;
    uint32_t losses, lost_at;     // runs lost since it had that many tokens
    struct infer_request request; // its tokens pointer is not used
    struct tn_rng rng;
    struct infer_sequence *next; // free list, or the queue from old to young
};

// A run elsewhere. It holds the pages that it may write, besides the sequence, so that nobody else
// gets them before it is certain that they are quiet.
struct remote_run {
    enum remote_state { REMOTE_FREE, REMOTE_RUNNING, REMOTE_DRAINING, REMOTE_LOST } state;
    struct infer_sequence *sequence; // REMOTE_RUNNING only
    uint32_t first_page, page_count; // of the sequence's table; pages[] from first_page on
    uint32_t until;                  // tokens that it reads in all
    uint32_t most, made;
    uint32_t *pages;
};

struct infer_engine {
    const struct tn_model *model;
    const struct tokenizer *tokenizer;
    struct tn_executor *executor;
    struct infer_options options;
    struct tn_executor_options limits;
    uint32_t vocabulary;
    bool embeds; // no next tokens
    uint32_t pages_per_sequence;

    struct infer_sequence *sequences; // slots + queue of them
    struct infer_sequence *free;
    struct infer_sequence *waiting;  // oldest first
    struct infer_sequence **running; // [slots], oldest first
    uint32_t running_count, waiting_count;
    uint64_t next_age;

    struct pages store;
    uint32_t *page_tables; // [slots][pages_per_sequence], lent to running sequences
    uint32_t **free_tables;
    uint32_t free_table_count;

    uint32_t draft_most;       // tokens guessed at once, 0: speculation is off
    uint32_t draft_context;    // of the draft model
    uint32_t draft_pages_each; // its pages belong to slots once and for all
    uint32_t *draft_pages;     // 0, 1, 2, ...
    uint32_t *wanted;          // [slots], guesses by the draft model
    struct tn_executor_options draft_limits;

    struct remote_run *runs; // [run_count]
    uint32_t run_count;
    uint32_t *run_pages;    // [run_count][pages_per_sequence]
    uint32_t remote_pages;  // that runs hold, counted once a run
    uint32_t run_limit;     // runs at once that the runner has been seen to take
    uint32_t draining;      // runs that are to end soon and give pages back
    uint64_t remote_ns;     // when the time of runs was last counted
    int32_t *stops;         // end-of-generation tokens
    uint32_t stop_count;    // more than the runner takes: only what ignores them runs there
    uint32_t here_tokens;   // a step may take here, so that the runner is looked after
    uint32_t bound_entries; // of the last step

    uint32_t logits_rows; // of one sequence: 1 + draft_most
    float *logits;        // [slots][logits_rows][vocabulary]
    struct tn_step_sequence *step;
    struct step_entry {
        struct infer_sequence *sequence;
        uint64_t age;  // tells whether it is still the same one after callbacks
        float *logits; // NULL: none wanted
    } * entries;
    struct infer_stats stats;
};

double tn_rng_unit(struct tn_rng *r); // uniform in [0, 1)

// K and V of the tokens up to `to` are stored now.
void infer_advance(struct infer_engine *e, struct infer_sequence *s, uint32_t to);
// Pages that `tokens` tokens take beyond those the sequence has.
uint32_t infer_pages_missing(const struct infer_sequence *s, uint32_t tokens);

// 0; -EINVAL: the draft model's vocabulary or its executor's limits do not fit; -ENOMEM.
int infer_open_draft(struct infer_engine *e);
// Guesses tokens for the sequences that decode: s->drafted of them behind s->count.
void infer_draft(struct infer_engine *e);
// Reads with the draft model what the model itself has read meanwhile.
void infer_follow(struct infer_engine *e);
// `accepted` of the guesses turned out to be right.
void infer_drafts_judged(struct infer_engine *e, struct infer_sequence *s, uint32_t accepted);

// Pages for `tokens` tokens in all. False when they could not be had even from younger sequences.
bool infer_reserve(struct infer_engine *e, struct infer_sequence *s, uint32_t tokens);
// Gives the pages and the table back; the sequence leaves the running ones.
void infer_stop_running(struct infer_engine *e, struct infer_sequence *s);
// Waiting sequences become running ones while there is room.
void infer_admit(struct infer_engine *e);
void infer_enqueue(struct infer_engine *e, struct infer_sequence *s); // by age
void infer_finish(struct infer_engine *e, struct infer_sequence *s, enum infer_finish why);
// Appends a token and tells the request. False: the sequence is finished.
bool infer_append(struct infer_engine *e, struct infer_sequence *s, int32_t id);

// ---- remote.c ----
// Nothing is computed here for it in this step.
static inline bool infer_elsewhere(const struct infer_sequence *s)
{
    return s->run || s->waits;
}
uint32_t infer_remote_count(const struct infer_engine *e, enum remote_state state);
uint32_t infer_remote_quarantined(const struct infer_engine *e); // pages of lost runs
int infer_open_remote(struct infer_engine *e);                   // 0, -ENOMEM
void infer_close_remote(struct infer_engine *e);
void infer_remote_look(struct infer_engine *e);  // takes the runner's news
void infer_remote_start(struct infer_engine *e); // hands it what it can take
// The sequence leaves its run, which goes on without it until it ends.
void infer_remote_leave(struct infer_engine *e, struct infer_sequence *s);
// How long a step here took: the next ones are cut so that the runner is not left alone for long.
void infer_remote_note_step(struct infer_engine *e, uint32_t tokens, uint64_t ns);

#endif
