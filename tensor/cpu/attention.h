// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attention over paged KV, for prompts and single tokens alike, and what it promises about bits.
//
// A query's result depends on the query and on the keys and values it sees, never on the path.
// Positions are cut into splits of 512 (TN_SPLIT_TOKENS). Within a split: each score is one chain
// over dimensions ascending; weights are exp(score - greatest of the split); their sum runs in
// sixteen lanes, position mod 16, folded in halves; each mixed dimension is one chain over
// positions ascending. Splits that a query sees nothing of are skipped; the others are taken in
// ascending order, rescaled to the greatest score so far. Weights of positions that are not seen
// are exactly 0, so a tile may cover more than one of its queries sees.
#ifndef TENSOR_CPU_ATTENTION_H
#define TENSOR_CPU_ATTENTION_H

#include "tensor/core/arena.h"
#include "tensor/cpu/row_kernels.h"

struct tn_executor;

// Queries of one sequence that are worked on together: pairs of a token and one of the query heads
// that share a KV head, numbered token * group + head, from `first` on.
struct tn_query_tile {
    uint32_t sequence, row; // row of the step with the sequence's first token
    uint32_t first, count;
};

// Positions of one sequence's step that lie in one page.
struct tn_page_run {
    uint32_t row, page, place, count; // row of the step, page number, first place in the page
};

struct tn_attention_memory {
    struct tn_query_tile *tiles;
    struct tn_page_run *runs;
    uint32_t tile_count, run_count;
    float **workers; // scratch of each worker
    float *parts;    // results of single splits, if the pool is wider than one
    size_t part_count;
};

// What sizes depend on.
struct tn_attention_limits {
    enum tn_isa isa;
    uint32_t max_tokens, context, heads, kv_heads, dim;
    unsigned width;
};

void tn_attention_carve(struct tn_attention_memory *m, const struct tn_attention_limits *l,
                        struct tn_arena *a);
// Cuts the bound step into tiles and runs: once a step.
void tn_attention_bind(struct tn_executor *x);
void tn_run_attention(struct tn_executor *x, const struct ir_op *op);
void tn_run_kv_store(struct tn_executor *x, const struct ir_op *op);

#endif
