// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tokens by tensor calls: finds the host, agrees with it about the model, and decides whether it
// is used. What does not fit is said in the log, and this machine computes by itself. The engine's
// strand owns it once that runs.
#ifndef APPS_LLM_OFFLOAD_H
#define APPS_LLM_OFFLOAD_H

#include "hypercall/guest/runner.h"
#include "tensor/exec.h"

#include <stdatomic.h>

enum offload_choice { OFFLOAD_CHOOSE, OFFLOAD_NEVER, OFFLOAD_ALWAYS };

// Round trips of empty calls.
struct calls_bench {
    uint32_t count; // of each kind
    uint64_t spin_median_ns, spin_p99_ns, sleep_median_ns, sleep_p99_ns;
    int error; // 0, or a negative errno
};

struct offload {
    enum offload_choice choice;
    struct hc_client client;
    bool connected;                       // there is a region, and client is over it
    struct hc_runner *runner;             // NULL: no host does our model
    bool used;                            // the engine hands its runs over
    char why_not[200];                    // with !used
    uint64_t host_token_ns, own_token_ns; // measured; 0: not

    // For other strands.
    _Atomic uint32_t state; // 0: this machine computes, 1: the host
    _Atomic uint64_t epoch, losses, calls, answers;
};

struct offload_options {
    enum offload_choice choice;
    const char *identity; // text form; "": not known
    const char *where;    // for port_offload_open
    uint32_t spin_us;
};

// Connects to a region, if there is one: whether offload_fit and offload_begin make sense.
bool offload_connect(struct offload *o, const struct offload_options *options);
// The most KV pages of the region for o->runs runs of the described sequences; 0: none.
uint64_t offload_most_pages(const struct offload *o, const struct hc_runner_options *r);
// Attaches and opens the model there. True: r->kv_page_total pages lie at offload_kv(o).
bool offload_begin(struct offload *o, struct hc_runner_options *r,
                   const struct offload_options *options);
void *offload_kv(const struct offload *o);
// Notes and logs why this machine computes by itself.
void offload_stay(struct offload *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Decides, with the executor that would compute here. The runner for the engine, or NULL.
const struct infer_runner *offload_decide(struct offload *o, struct tn_executor *x);
void offload_end(struct offload *o);

// ---- the engine's strand ----
void offload_publish(struct offload *o);
// Sleeps on PORT_ENGINE until the host has news or something else wakes it.
void offload_sleep(struct offload *o, uint32_t most_ms);
// How long an engine without work may sleep, 0: for ever.
uint32_t offload_idle_ms(const struct offload *o);
void offload_bench(struct offload *o, struct calls_bench *b);

#endif
