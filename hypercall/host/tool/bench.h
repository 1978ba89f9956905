// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the ways of measuring share: one run of one test, and what a test has to do at least.
#ifndef TESSERA_BENCH_H
#define TESSERA_BENCH_H

#include "hypercall/host/tool/tool.h"

struct bench_test {
    bool prompt;        // a prompt of `tokens` tokens; otherwise that many one after another
    uint32_t tokens;    // of each sequence
    uint32_t sequences; // at once, in the same steps
};

// An engine with the buffers that runs need.
struct bench_engine {
    struct tool_engine engine;
    const struct tool_model *model;
    int32_t *tokens; // [sequences][context]
    float *logits;   // [sequences][vocabulary]
    struct tn_step_sequence *step;
};

struct bench_time {
    double wall, cpu; // seconds; CPU of all threads
};

int bench_start(const struct tool_model *m, const struct tool_setup *s, struct bench_engine *b);
void bench_stop(struct bench_engine *b);
// From an empty KV cache, with the logits of each step's last tokens.
int bench_run(struct bench_engine *b, const struct bench_test *t, struct bench_time *out);

// What the test must compute and read whoever does it: multiply-adds of all products and of
// attention, and bytes of weights that one step reads.
struct bench_work {
    double multiply_adds, step_weight_bytes;
};
struct bench_work bench_work(const struct tool_model *m, const struct bench_test *t);

// Tests read from standard input; see paced.c.
int bench_paced(const struct tool_model *m, const struct tool_setup *s, uint64_t begun_ns);

// With and without guesses; see bench_speculate.c.
struct bench_guesses {
    const char *draft; // a model's path, NULL: none
    uint32_t draft_tokens, lookup;
};
int bench_speculate(const struct tool_model *m, const struct tool_setup *s,
                    const struct bench_guesses *g, uint32_t made, uint32_t runs, bool json);

#endif
