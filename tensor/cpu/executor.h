// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the CPU executor: what is allocated once, and what one step binds.
#ifndef TENSOR_CPU_EXECUTOR_H
#define TENSOR_CPU_EXECUTOR_H

#include "tensor/core/arena.h"
#include "tensor/cpu/attention.h"
#include "tensor/cpu/float_product.h"
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/ir/ir.h"

// Scratch of one worker.
struct tn_worker {
    float *tile[2];           // results of a tile: [column][row]
    struct tn_panel *scratch; // weights unpacked (or floats of weights)
};

// Columns ready to be multiplied: as floats, or quantised (input.c).
struct tn_input {
    enum tn_columns_kind kind;
    size_t columns, k;
    size_t chunk; // columns of one tile at most; floats are arranged chunk by chunk
    struct tn_float_columns floats;
    struct tn_panel_columns integers;
};

// Of mixtures of experts (experts.c). A pair is a token and one of its experts; a place is a pair's
// in the order of experts.
struct tn_experts_memory {
    uint32_t *chosen; // [pair]: expert
    float *weight;    // [pair]
    uint32_t *place;  // [pair]
    uint32_t *token;  // [place]
    uint32_t *first;  // [expert]: place; and one more, the end
    uint32_t *first_tile;
    float *scores;           // [worker][2][most_experts]
    float *hidden, *results; // [place][rows]
    float *gathered;         // [place][columns], for float weights
    size_t most_experts;
};

// A row of the step: one token of one sequence.
struct tn_row {
    uint32_t sequence, position;
    int32_t token;
};

struct tn_executor {
    const struct tn_model *model;
    const struct ir_graph *graph;
    const struct tn_integer_kernels *integers;
    const struct tn_float_kernels *floats;
    const struct tn_row_kernels *row_kernels;
    struct tn_executor_options options;
    void *memory; // all that follows lies in it
    uint8_t *kv;  // [layer][page][kv head]{K, V}: exec.h
    size_t kv_head_bytes, kv_page_bytes, kv_layer_bytes;
    float *values;         // the graph's values, as planned
    struct tn_input input; // one set of columns at a time
    float *arranged;       // for input.floats
    float *turn;           // [row][graph->turn_floats]: tn_turns
    struct tn_row *rows;
    uint32_t *outputs; // rows whose logits are wanted
    float **logits;    // where they go
    struct tn_experts_memory experts;
    struct tn_worker *workers;
    struct tn_attention_memory attention;

    // The step under way.
    const struct tn_step_sequence *sequences;
    uint32_t row_count, output_count;
    ir_value input_value;           // whose columns `input` holds, 0: none
    const struct ir_op *input_norm; // that they went through
};

static inline float *tn_value(const struct tn_executor *x, ir_value v)
{
    return x->values + (size_t)x->graph->values[v].offset * x->options.max_tokens;
}

// A layer of the KV store that the sequence uses.
static inline uint8_t *tn_kv_layer(const struct tn_executor *x, const struct tn_step_sequence *s,
                                   uint32_t layer)
{
    return s->kv ? (uint8_t *)s->kv + layer * x->kv_page_bytes * s->kv_page_total
                 : x->kv + layer * x->kv_layer_bytes;
}

static inline uint32_t tn_rows_of(const struct tn_executor *x, enum ir_rows rows)
{
    return rows == IR_TOKENS ? x->row_count : x->output_count;
}

// Of one row: the turns of a rope with its magnitude, as the turn_ kernels want them.
static inline float *tn_turns(const struct tn_executor *x, const struct ir_rope *rope, size_t row)
{
    return x->turn + row * x->graph->turn_floats + rope->place;
}

// The product, gated pair or mixture of experts at `ops` and those of the following that go along
// with it; returns how many operations that were. `count` are left in the graph.
size_t tn_run_products(struct tn_executor *x, const struct ir_op *ops, size_t count);
// Their buffers: in all, and one worker's.
void tn_products_carve(struct tn_executor *x, struct tn_arena *a);
void tn_worker_carve(struct tn_worker *w, struct tn_arena *a);
// Everything else.
void tn_run_rows(struct tn_executor *x, const struct ir_op *op);
// One row of n floats through a norm.
void tn_norm_row(const struct tn_row_kernels *k, const struct ir_op *norm, const float *in,
                 size_t n, float *out);
// Adds the time of `count` operations from `ops` on to the caller's trace (trace.c).
void tn_trace_add(struct tn_executor *x, const struct ir_op *ops, uint32_t count, uint64_t ns);
// Fills x->turn for the rows of the step.
void tn_prepare_turns(struct tn_executor *x);

#endif
