// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the runner's files share.
#ifndef HYPERCALL_GUEST_RUNNER_PRIVATE_H
#define HYPERCALL_GUEST_RUNNER_PRIVATE_H

#include "hypercall/guest/runner.h"

// Tokens that calls may promise, and what becomes of each run besides.
enum { RUNNER_EVENTS = 4096 };
_Static_assert(RUNNER_EVENTS > HC_COMPLETION_COUNT + 4 * HC_MOST_RUNS, "events have room");

struct runner_run {
    uint64_t tag; // 0: not under way
    bool lost;    // not yet known to be quiet
    uint32_t most, made;
    float *logits; // the caller's
};

struct hc_runner {
    struct infer_runner infer;
    struct hc_client *client;
    struct hc_runner_options options;
    enum runner_step {
        RUNNER_UNATTACHED,
        RUNNER_ALLOCATING,
        RUNNER_OPENING,
        RUNNER_READY,
        RUNNER_UNFIT, // this host does not do: until it is another one
    } step;
    uint64_t step_tag;
    uint64_t attach; // number of the client's attachment that this is about
    bool told_down;  // people know that the host is lost
    char problem[160];

    // Offsets in the buffer, which is at `base` of the region.
    uint64_t bytes, run_bytes, pages_at, tokens_at; // the latter two in a run's part
    uint64_t shared_at, logits_at, kv_at;
    uint64_t base; // 0: not known yet
    uint64_t buffer, model;

    bool logits_taken;
    uint32_t logits_run;
    struct runner_run runs[HC_MOST_RUNS];
    struct infer_event events[RUNNER_EVENTS];
    uint32_t head, tail;
};

// Brings the runner up to what the client knows: lost, attached, ready.
void runner_sync(struct hc_runner *r);
void runner_tell(struct hc_runner *r, uint32_t run, enum infer_event_kind kind, int32_t token);
void runner_say(const struct hc_runner *r, bool problem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// A completion of the calls that set things up.
void runner_setup_answer(struct hc_runner *r, const struct hc_completion *c);
void runner_functions(struct hc_runner *r); // sets the engine's and the client's callbacks
uint8_t *runner_memory(const struct hc_runner *r, uint64_t at);

#endif
