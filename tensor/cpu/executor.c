// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The CPU executor of exec.h: memory taken once at opening, then steps that only compute.
#include "tensor/cpu/executor.h"

#include "tensor/model/model_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MOST_TOKENS = 2048, MOST_WORKERS = 256 };

// K and V of a page: both take what 32 rows of the type take, however they are arranged. 0: heads
// of this size cannot be kept in the type.
static size_t kv_head_bytes(const struct ir_graph *g, uint32_t kv_type)
{
    return (size_t)2 * TN_KV_PAGE_TOKENS * tn_row_bytes(kv_type, g->head_dim);
}

size_t tn_kv_page_bytes(const struct tn_model *m, uint32_t kv_type)
{
    return m->graph.layers * m->graph.kv_heads * kv_head_bytes(&m->graph, kv_type);
}

// Takes all buffers from the arena; with an empty arena it only measures.
static void carve(struct tn_executor *x, struct tn_arena *a)
{
    const struct ir_graph *g = x->graph;
    size_t tokens = x->options.max_tokens, width = x->options.pool->width;
    x->values = tn_arena_take(a, tokens * g->floats_per_row * sizeof(float));
    x->turn = tn_arena_take(a, tokens * g->turn_floats * sizeof(float));
    x->rows = tn_arena_take(a, tokens * sizeof *x->rows);
    x->outputs = tn_arena_take(a, tokens * sizeof *x->outputs);
    x->logits = tn_arena_take(a, tokens * sizeof *x->logits);
    tn_products_carve(x, a);
    struct tn_attention_limits limits = {.isa = x->options.isa,
                                         .max_tokens = x->options.max_tokens,
                                         .context = g->context,
                                         .heads = g->heads,
                                         .kv_heads = g->kv_heads,
                                         .dim = g->head_dim,
                                         .width = x->options.pool->width};
    tn_attention_carve(&x->attention, &limits, a);
    x->workers = tn_arena_take(a, width * sizeof *x->workers);
    for (size_t i = 0; i < width; i++) {
        struct tn_worker w = {0};
        tn_worker_carve(&w, a);
        if (x->workers) {
            x->workers[i] = w;
        }
    }
}

static size_t scratch_bytes(struct tn_executor *x)
{
    struct tn_arena measure = {0};
    carve(x, &measure);
    return measure.used;
}

size_t tn_scratch_bytes(const struct tn_model *m, uint32_t max_tokens, unsigned workers)
{
    struct tn_pool pool = {.width = workers ? workers : 1};
    size_t most = 0;
    for (int isa = 0; isa < TN_ISA_COUNT; isa++) { // levels arrange columns differently
        struct tn_executor x = {
            .graph = &m->graph,
            .integers = tn_integer_kernels_of((enum tn_isa)isa),
            .floats = tn_float_kernels_of((enum tn_isa)isa),
            .options = {.isa = (enum tn_isa)isa, .max_tokens = max_tokens, .pool = &pool}};
        size_t bytes = scratch_bytes(&x);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static bool is_kv_type(uint32_t type)
{
    return type == TN_F32 || type == TN_F16 || type == TN_Q8_0 || type == TN_Q4_0;
}

static int check_options(const struct tn_model *m, const struct tn_executor_options *o, char *error,
                         size_t bytes)
{
    if (!o->pool || o->pool->width == 0 || o->pool->width > MOST_WORKERS) {
        snprintf(error, bytes, "executor: the pool must have 1 to %d workers", MOST_WORKERS);
    } else if (o->max_tokens == 0 || o->max_tokens > MOST_TOKENS) {
        snprintf(error, bytes, "executor: max_tokens is %u, expected 1 to %d", o->max_tokens,
                 MOST_TOKENS);
    } else if (o->max_sequences == 0 || o->max_sequences > o->max_tokens) {
        snprintf(error, bytes, "executor: max_sequences is %u, expected 1 to max_tokens (%u)",
                 o->max_sequences, o->max_tokens);
    } else if (!is_kv_type(o->kv_type)) {
        snprintf(error, bytes, "executor: KV type %u is not supported (F32, F16, Q8_0, Q4_0 are)",
                 o->kv_type);
    } else if (kv_head_bytes(&m->graph, o->kv_type) == 0) {
        snprintf(error, bytes, "executor: heads of %u values do not fit blocks of KV type %s",
                 m->graph.head_dim, tn_type_info(o->kv_type)->name);
    } else if ((unsigned)o->isa > (unsigned)tn_isa_best()) {
        snprintf(error, bytes, "executor: this machine cannot run %s", tn_isa_name(o->isa));
    } else {
        return 0;
    }
    return -EINVAL;
}

// Large blocks in pages of 2 MB where the system has them to give: values of neighbouring tokens
// are kilobytes apart.
static void *default_alloc(size_t bytes)
{
    const size_t huge = (size_t)2 << 20;
    if (bytes < 2 * huge) {
        return aligned_alloc(TN_ALIGN, tn_align_up(bytes));
    }
    size_t whole = (bytes + huge - 1) & ~(huge - 1);
    void *block = aligned_alloc(huge, whole);
    if (block) {
        madvise(block, whole, MADV_HUGEPAGE);
    }
    return block;
}

int tn_executor_open(const struct tn_model *m, const struct tn_executor_options *o,
                     struct tn_executor **out, char *error, size_t error_bytes)
{
    int e = check_options(m, o, error, error_bytes);
    if (e) {
        return e;
    }
    struct tn_executor *x = calloc(1, sizeof *x);
    if (!x) {
        snprintf(error, error_bytes, "executor: no memory");
        return -ENOMEM;
    }
    x->model = m;
    x->graph = &m->graph;
    x->options = *o;
    if (x->options.context == 0 || x->options.context > m->graph.context) {
        x->options.context = m->graph.context;
    }
    x->integers = tn_integer_kernels_of(o->isa);
    x->floats = tn_float_kernels_of(o->isa);
    x->row_kernels = tn_row_kernels_of(o->isa);
    if (!x->options.alloc) {
        x->options.alloc = default_alloc;
        x->options.free = free;
    }
    x->kv_head_bytes = kv_head_bytes(x->graph, o->kv_type);
    x->kv_page_bytes = x->kv_head_bytes * x->graph->kv_heads;
    x->kv_layer_bytes = x->kv_page_bytes * o->kv_page_total;
    size_t kv = o->kv_memory ? 0 : tn_align_up(x->kv_layer_bytes * x->graph->layers);
    size_t scratch = scratch_bytes(x);
    x->memory = x->options.alloc(kv + scratch);
    if (!x->memory) {
        snprintf(error, error_bytes, "executor: no memory: %zu bytes of KV and %zu of scratch", kv,
                 scratch);
        free(x);
        return -ENOMEM;
    }
    x->kv = o->kv_memory ? o->kv_memory : x->memory;
    struct tn_arena arena = {.base = (uint8_t *)x->memory + kv, .size = scratch};
    carve(x, &arena);
    *out = x;
    return 0;
}

void tn_executor_close(struct tn_executor *x)
{
    if (x) {
        if (x->options.free) {
            x->options.free(x->memory);
        }
        free(x);
    }
}

void tn_executor_limits(const struct tn_executor *x, struct tn_executor_options *out)
{
    *out = x->options;
}

// ---- a step ------------------------------------------------------------------------------------

static bool results_are_sound(const struct tn_executor *x, const struct tn_step_sequence *s)
{
    if (x->model->info.embeds) { // whole texts, no next token
        return s->logits_from == s->token_count && s->position == 0;
    }
    return s->logits_from <= s->token_count && !s->embedding &&
           (s->logits_from == s->token_count || s->logits);
}

static bool sequence_is_sound(const struct tn_executor *x, const struct tn_step_sequence *s)
{
    uint64_t end = (uint64_t)s->position + s->token_count;
    if (s->token_count == 0 || s->token_count > x->options.max_tokens || end > x->options.context ||
        (uint64_t)s->kv_page_count * TN_KV_PAGE_TOKENS < end || !results_are_sound(x, s)) {
        return false;
    }
    for (uint32_t i = 0; i < s->token_count; i++) {
        if (s->tokens[i] < 0 || (uint32_t)s->tokens[i] >= x->graph->vocabulary) {
            return false;
        }
    }
    uint32_t pages = s->kv ? s->kv_page_total : x->options.kv_page_total;
    for (uint64_t i = 0; i * TN_KV_PAGE_TOKENS < end; i++) {
        if (s->kv_pages[i] >= pages) {
            return false;
        }
    }
    return true;
}

// Lays the sequences' tokens out as rows. -EINVAL beyond any limit.
static int bind(struct tn_executor *x, const struct tn_step_sequence *sequences, size_t count)
{
    if (count == 0 || count > x->options.max_sequences) {
        return -EINVAL;
    }
    uint32_t rows = 0, outputs = 0;
    for (uint32_t s = 0; s < count; s++) {
        const struct tn_step_sequence *q = &sequences[s];
        if (!sequence_is_sound(x, q) || q->token_count > x->options.max_tokens - rows) {
            return -EINVAL;
        }
        for (uint32_t i = 0; i < q->token_count; i++, rows++) {
            x->rows[rows] = (struct tn_row){s, q->position + i, q->tokens[i]};
            if (i >= q->logits_from) {
                x->outputs[outputs] = rows;
                x->logits[outputs++] =
                    q->logits + (size_t)(i - q->logits_from) * x->graph->vocabulary;
            }
        }
    }
    x->sequences = sequences;
    x->row_count = rows;
    x->output_count = outputs;
    x->input_value = 0;
    return 0;
}

// The operation at `op` and those that run along with it; returns how many.
static uint32_t run_operation(struct tn_executor *x, const struct ir_op *op, uint32_t left)
{
    switch (op->kind) {
    case IR_MATMUL:
    case IR_GATED:
    case IR_EXPERTS:
    case IR_LOGITS:
        return (uint32_t)tn_run_products(x, op, left);
    default:
        tn_run_rows(x, op);
        return 1;
    }
}

int tn_step(struct tn_executor *x, const struct tn_step_sequence *sequences, size_t count)
{
    int e = bind(x, sequences, count);
    if (e) {
        return e;
    }
    const struct ir_graph *g = x->graph;
    struct tn_trace *trace = x->options.trace;
    uint64_t begin = trace ? trace->now_ns() : 0;
    tn_attention_bind(x);
    tn_prepare_turns(x);
    for (uint32_t i = 0, ran; i < g->op_count; i += ran) {
        ran = run_operation(x, &g->ops[i], g->op_count - i);
        if (trace) {
            uint64_t end = trace->now_ns();
            tn_trace_add(x, &g->ops[i], ran, end - begin);
            begin = end;
        }
    }
    return 0;
}
