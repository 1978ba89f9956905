// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the engine's opening (engine_open.c) and its loop (engine.c) share.
#ifndef APPS_LLM_ENGINE_PRIVATE_H
#define APPS_LLM_ENGINE_PRIVATE_H

#include "apps/llm/engine.h"

struct engine {
    const struct tn_model *model;
    struct tn_executor *executor;
    struct infer_engine *infer;
    struct engine_options options;
    struct engine_facts facts;
    struct engine_metrics metrics;
    struct offload offload;
    _Atomic(struct job *) inbox; // a stack: pushed by anyone, emptied by the engine
    struct job *jobs;            // the engine's: all that are not finished, oldest first
    bool untold;                 // news() has to be called again
    char *piece, *whole, *shown; // one token on its way: raw, whole characters, after stop strings
    size_t piece_bytes;
    uint32_t *text_pages; // page numbers 0, 1, …, for texts that are embedded
    uint32_t step_tokens;
};

void engine_run(void *engine);
// The vectors of j's texts, of length 1, while no sequence runs. 0 or a negative errno.
int engine_embed(struct engine *e, struct job *j);

#endif
