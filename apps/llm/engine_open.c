// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Plans the engine's memory: as many KV pages as the slots can use and memory, or the region shared
// with the host, holds; at least one sequence has to fit.
#include "apps/llm/engine_private.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP_TOKENS 128u
// What an executor can be asked for.
#define MOST_STEP_TOKENS 2048u
#define DEFAULT_SLOTS    8u
#define DEFAULT_QUEUE    64u
#define LEAST_CONTEXT    64u
// A model's whole context is not worth all memory: as much as this unless asked for more.
#define USUAL_CONTEXT 8192u

// To length 1. -EDOM: it has no direction.
static int normalise(float *v, uint32_t n)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++)
        squares += (double)v[i] * (double)v[i];
    if (!(squares > 0 && squares < 1e300))
        return -EDOM;
    double scale = 1 / __builtin_sqrt(squares);
    for (uint32_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
    return 0;
}

int engine_embed(struct engine *e, struct job *j)
{
    struct tn_model_info info;
    tn_model_info(e->model, &info);
    size_t at = 0;
    for (size_t t = 0; t < j->text_count; t++) {
        uint32_t n = (uint32_t)(j->text_ends[t] - at);
        float *v = j->vectors + t * info.embedding;
        struct tn_step_sequence s = {.tokens = j->tokens + at,
                                     .token_count = n,
                                     .kv_pages = e->text_pages,
                                     .kv_page_count =
                                         (n + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS,
                                     .logits_from = n,
                                     .embedding = v};
        int rc = tn_step(e->executor, &s, 1);
        if (!rc)
            rc = normalise(v, info.embedding);
        if (rc)
            return rc;
        if (atomic_load_explicit(&j->cancelled, memory_order_relaxed))
            return -ECANCELED;
        at = j->text_ends[t];
    }
    return 0;
}

static uint32_t pages_for(uint32_t tokens)
{
    return (tokens + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
}

// Half precision where the cache is large; which of the two depends on the model alone, so that a
// model gives the same bits on every machine of one ISA level.
static uint32_t kv_type_for(const struct tn_model_info *info)
{
    uint64_t values = (uint64_t)info->layers * info->kv_heads * info->head_dim;
    return values > 4096 ? TN_F16 : TN_F32;
}

static uint32_t wanted_context(const struct engine *e, const struct tn_model_info *info)
{
    uint32_t usual = info->context < USUAL_CONTEXT ? info->context : USUAL_CONTEXT;
    uint32_t wanted = e->facts.context ? e->facts.context : usual;
    return wanted < info->context ? wanted : info->context;
}

static uint64_t scratch_bytes(const struct engine *e, const struct tn_model_info *info,
                              const struct tn_executor_options *x)
{
    // Scratch, logits rows and the waiting jobs come out of the same memory.
    return tn_scratch_bytes(e->model, x->max_tokens, x->pool->width) +
           (uint64_t)e->facts.slots * info->vocabulary * sizeof(float) + (256u << 10);
}

static int plan(struct engine *e, const struct tn_model_info *info, struct tn_executor_options *x,
                char *error, size_t error_bytes)
{
    struct engine_facts *f = &e->facts;
    uint64_t page = tn_kv_page_bytes(e->model, x->kv_type) + INFER_PAGE_BYTES;
    uint64_t other = scratch_bytes(e, info, x);
    uint64_t have = port_free_bytes();
    uint64_t budget = have > other ? have - other : 0;
    uint32_t wanted = wanted_context(e, info);
    uint64_t most = budget / page;
    if (most > (uint64_t)pages_for(wanted) * f->slots)
        most = (uint64_t)pages_for(wanted) * f->slots;
    f->kv_pages = (uint32_t)most;
    f->context = wanted;
    if (most < pages_for(wanted)) {
        f->context = (uint32_t)most * TN_KV_PAGE_TOKENS;
        if (f->context < (LEAST_CONTEXT < wanted ? LEAST_CONTEXT : wanted)) {
            snprintf(error, error_bytes,
                     "not enough memory for the model: %llu KB are free, %llu KB are needed for a "
                     "context of %u tokens; give the machine more memory",
                     (unsigned long long)(have >> 10),
                     (unsigned long long)((other + pages_for(LEAST_CONTEXT) * page) >> 10) + 1,
                     LEAST_CONTEXT);
            return -ENOMEM;
        }
        port_log(PORT_WARN, "memory holds a context of %u tokens, not %u", f->context, wanted);
    }
    x->kv_page_total = f->kv_pages;
    f->memory_bytes = other + most * page;
    return 0;
}

// The same with the KV store in the region that is shared with the host: as many pages as the slots
// can use and one context more, which stays free of runs; at least two contexts. False: it stays
// in this machine's memory, and so does the computing.
static bool plan_offload(struct engine *e, const struct tn_model_info *info,
                         struct tn_executor_options *x)
{
    struct engine_facts *f = &e->facts;
    const struct offload_options *options = &e->options.offload;
    if (!offload_connect(&e->offload, options))
        return false;
    if (info->embeds) {
        offload_stay(&e->offload, "models that embed are not computed by the host");
        return false;
    }
    uint32_t runs = 2 * f->slots; // lost ones keep their places for a while
    struct hc_runner_options r = {.kv_type = x->kv_type,
                                  .kv_page_bytes = tn_kv_page_bytes(e->model, x->kv_type),
                                  .vocabulary = info->vocabulary,
                                  .layers = info->layers,
                                  .kv_heads = info->kv_heads,
                                  .head_dim = info->head_dim,
                                  .context = wanted_context(e, info),
                                  .runs = runs < HC_MOST_RUNS ? runs : HC_MOST_RUNS,
                                  .most_tokens = hc_runner_tokens(f->slots)};
    uint64_t other = scratch_bytes(e, info, x), have = port_free_bytes();
    uint64_t described = have > other ? (have - other) / INFER_PAGE_BYTES : 0;
    uint64_t most = offload_most_pages(&e->offload, &r), whole = pages_for(r.context);
    most = most < described ? most : described;
    most = most < whole * (f->slots + 1) ? most : whole * (f->slots + 1);
    if (most < 2 * whole) {
        uint32_t held = (uint32_t)(most / 2) * TN_KV_PAGE_TOKENS;
        if (held < LEAST_CONTEXT) {
            offload_stay(&e->offload,
                         "the shared region of %llu KB holds no two contexts of %u tokens",
                         (unsigned long long)(e->offload.client.region_bytes >> 10), LEAST_CONTEXT);
            return false;
        }
        port_log(PORT_WARN, "the shared region holds contexts of %u tokens, not %u", held,
                 r.context);
        r.context = held;
    }
    r.kv_page_total = (uint32_t)most;
    if (!offload_begin(&e->offload, &r, options))
        return false;
    f->context = r.context;
    f->kv_pages = x->kv_page_total = r.kv_page_total;
    x->kv_memory = offload_kv(&e->offload);
    f->memory_bytes = other + most * INFER_PAGE_BYTES;
    return true;
}

static int choose_isa(const struct engine_options *o, enum tn_isa *out, char *error,
                      size_t error_bytes)
{
    enum tn_isa wanted;
    if (!o->isa || !o->isa[0]) {
        *out = o->measure_isa ? tn_isa_measured() : tn_isa_best();
        return 0;
    }
    if (tn_isa_parse(o->isa, &wanted)) {
        snprintf(error, error_bytes,
                 "engine.isa '%s' is not known (scalar, avx2, avx512, avx512vnni)", o->isa);
        return -EINVAL;
    }
    if (wanted > tn_isa_best()) {
        snprintf(error, error_bytes, "engine.isa %s: this CPU reaches %s", o->isa,
                 tn_isa_name(tn_isa_best()));
        return -ENOTSUP;
    }
    *out = wanted;
    return 0;
}

static int open_infer(struct engine *e, const struct engine_options *o, char *error,
                      size_t error_bytes)
{
    struct tn_model_info info;
    tn_model_info(e->model, &info);
    struct engine_facts *f = &e->facts;
    f->slots = o->slots ? o->slots : DEFAULT_SLOTS;
    f->queue = o->queue ? o->queue : DEFAULT_QUEUE;
    f->context = o->context;
    f->kv_type = kv_type_for(&info);
    // A text that is embedded is one step.
    uint32_t step = info.embeds ? info.context : STEP_TOKENS;
    step = step < MOST_STEP_TOKENS ? step : MOST_STEP_TOKENS;
    if (info.embeds && (!f->context || f->context > step))
        f->context = step;
    struct tn_executor_options x = {.pool = port_pool(),
                                    .max_tokens = step > f->slots ? step : f->slots,
                                    .max_sequences = f->slots,
                                    .kv_type = f->kv_type,
                                    .alloc = port_alloc,
                                    .free = port_free};
    int rc = choose_isa(o, &x.isa, error, error_bytes);
    if (rc)
        return rc;
    if (!plan_offload(e, &info, &x) && (rc = plan(e, &info, &x, error, error_bytes)))
        return rc;
    f->isa = x.isa;
    e->step_tokens = x.max_tokens;
    if ((rc = tn_executor_open(e->model, &x, &e->executor, error, error_bytes)))
        return rc;
    struct infer_options i = {.slots = f->slots,
                              .queue = f->queue,
                              .context = f->context,
                              .now_ns = port_now_ns,
                              .runner = offload_decide(&e->offload, e->executor)};
    rc = infer_open(e->model, e->executor, &i, &e->infer);
    if (rc)
        snprintf(error, error_bytes, "not enough memory for %u slots", f->slots);
    return rc;
}

static int open_buffers(struct engine *e, char *error, size_t error_bytes)
{
    uint32_t pages = pages_for(e->facts.context);
    e->piece_bytes = tokenizer_longest(tn_model_tokenizer(e->model)) + 1;
    if (e->piece_bytes > JOB_RING / 4) // a longer token could not be shown anyway
        e->piece_bytes = JOB_RING / 4;
    size_t whole = 3 * (e->piece_bytes + 4);
    e->piece = malloc(e->piece_bytes);
    e->whole = malloc(whole);
    e->shown = malloc(whole + STOP_MAX_BYTES);
    e->text_pages = malloc(pages * sizeof *e->text_pages);
    if (!e->piece || !e->whole || !e->shown || !e->text_pages) {
        snprintf(error, error_bytes, "not enough memory for the engine");
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < pages; i++)
        e->text_pages[i] = i;
    return 0;
}

int engine_open(const struct tn_model *m, const struct engine_options *o, struct engine **out,
                char *error, size_t error_bytes)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) {
        snprintf(error, error_bytes, "not enough memory for the engine");
        return -ENOMEM;
    }
    e->model = m;
    e->options = *o;
    int rc = open_infer(e, o, error, error_bytes);
    if (!rc)
        rc = open_buffers(e, error, error_bytes);
    if (!rc && (rc = port_start(PORT_ENGINE, engine_run, e)))
        snprintf(error, error_bytes, "the engine's strand did not start (%d)", rc);
    if (rc) {
        infer_close(e->infer);
        if (e->executor)
            tn_executor_close(e->executor);
        offload_end(&e->offload);
        free(e->piece);
        free(e->whole);
        free(e->shown);
        free(e->text_pages);
        free(e);
        return rc;
    }
    *out = e;
    return 0;
}
