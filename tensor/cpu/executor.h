// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the CPU executor: what is allocated once, and what one step binds.
#ifndef TENSOR_CPU_EXECUTOR_H
#define TENSOR_CPU_EXECUTOR_H

#include "tensor/core/arena.h"
#include "tensor/cpu/kernels.h"
#include "tensor/ir/ir.h"

enum {
    TILE_FLOATS_LEAST = 8192, // results one tile may have, at least
    TILE_ROWS_MOST = 64,
};

// Scratch of one worker.
struct tn_worker {
    float *tile[2]; // results of a tile: panels [row][column], then columns [column][row]
    struct tn_panel_rows rows;
};

// A row of the step: one token of one sequence.
struct tn_row {
    uint32_t sequence, position;
    int32_t token;
};

struct tn_executor {
    const struct tn_model *model;
    const struct ir_graph *graph;
    const struct tn_kernels *kernels;
    struct tn_executor_options options;
    void *memory; // all that follows lies in it
    uint8_t *kv;  // [layer][page][kv head]{K [32][dim], V [32][dim]}
    size_t kv_head_bytes, kv_page_bytes, kv_layer_bytes;
    float *values; // the graph's values, as planned
    struct tn_columns8 quantised;
    struct tn_panel *panels; // one for sixteen columns
    float *turn;             // [row][rotated / 2]{cosine, sine}
    struct tn_row *rows;
    uint32_t *outputs; // rows whose logits are wanted
    float **logits;    // where they go
    struct tn_worker *workers;

    // The step under way.
    const struct tn_step_sequence *sequences;
    uint32_t row_count, output_count;
    ir_value quantised_value; // whose columns `quantised` holds
};

static inline float *tn_value(const struct tn_executor *x, ir_value v)
{
    return x->values + (size_t)x->graph->values[v].offset * x->options.max_tokens;
}

static inline uint32_t tn_rows_of(const struct tn_executor *x, enum ir_rows rows)
{
    return rows == IR_TOKENS ? x->row_count : x->output_count;
}

// The product or gated pair at `ops` and those of the following that go along with it; returns how
// many operations that were. `count` are left in the graph.
size_t tn_run_products(struct tn_executor *x, const struct ir_op *ops, size_t count);
// Everything else.
void tn_run_rows(struct tn_executor *x, const struct ir_op *op);
// Fills x->turn for the rows of the step.
void tn_prepare_turns(struct tn_executor *x);

#endif
