// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The executor: one batched, ragged step of one model over sequences with paged KV (DESIGN
// decisions 11 and 12). An output row has the same bits whatever the batch width, thread count,
// chunking or page placement, within one ISA level. Other executors (tensor calls, GPU) implement
// the same interface.
#ifndef TENSOR_EXEC_H
#define TENSOR_EXEC_H

#include "tensor/model.h"
#include "tensor/pool.h"

// KV layout, the same for every executor: [layer][page][kv head], and in it K, then V, each 32
// positions by head_dim. K lies transposed, [head_dim][32 positions], so that one register holds
// one dimension of several keys; V lies as [32 positions][head_dim]. F32 and F16: plain elements.
// Q8_0 and Q4_0 (head_dim a multiple of 32; blocks of 32 dimensions of one position):
// K: for each block of dimensions 32 f16 scales, one a position, then Q8_0 [32 dimensions][32
// positions] signed bytes, Q4_0 [16][32 positions] bytes: dimension i in the low, i + 16 in the
// high nibble, plus 8. V: as rows of GGUF blocks, one row a position.
#define TN_KV_PAGE_TOKENS 32u

// One sequence's part of a step.
struct tn_step_sequence {
    const int32_t *tokens; // token_count new tokens
    uint32_t token_count;
    uint32_t position;        // of tokens[0]; KV of [0, position) is present
    const uint32_t *kv_pages; // page numbers; page i holds positions [i*32, i*32+32)
    uint32_t kv_page_count;   // enough for position + token_count
    // This sequence's own KV store, of kv_page_total pages in the layout above and aligned to 64
    // bytes: sequences of several tenants run in one step. NULL: the executor's. It may be memory
    // that others change meanwhile: that spoils this sequence's results and nothing else.
    void *kv;
    uint32_t kv_page_total;
    // Not 0: the steps of one run, between which nobody else writes K and V of its positions; no
    // other run ever has the number. Executors with a memory of their own keep K and V there.
    uint64_t run;
    uint32_t logits_from; // rows wanted: tokens [logits_from, token_count); == token_count: none
    float *logits;        // (token_count - logits_from) rows of vocabulary size; caller's
    // Models that embed (tn_model_info.embeds): `embedding` values, pooled over this step's tokens,
    // which must be the whole sequence; with pooling "none" token_count rows. NULL: not wanted.
    float *embedding;
};

enum tn_isa { TN_ISA_SCALAR, TN_ISA_AVX2, TN_ISA_AVX512, TN_ISA_AVX512_VNNI, TN_ISA_COUNT };
const char *tn_isa_name(enum tn_isa isa);
// Best level that CPUID and the OS (XCR0) allow; and the one that a measurement of under 2 ms finds
// fastest (for emulated CPUs, where wide is slow).
enum tn_isa tn_isa_best(void);
enum tn_isa tn_isa_measured(void);
int tn_isa_parse(const char *name,
                 enum tn_isa *out); // "scalar" "avx2" "avx512" "avx512vnni"; -EINVAL

// Where the time goes, by kind of operation and weight type ("matmul Q8_0", "attention").
struct tn_trace_row {
    const char *operation, *type; // type: of the weights, "" for none
    uint64_t count, ns, rows;     // operations, time, rows (tokens) they worked on
    double work;                  // multiply-adds
};
enum { TN_TRACE_ROWS = 64 };
struct tn_trace {
    uint64_t (*now_ns)(void); // the caller's clock
    uint32_t row_count;
    struct tn_trace_row rows[TN_TRACE_ROWS];
};

struct tn_executor_options {
    enum tn_isa isa;
    struct tn_pool *pool;
    uint32_t max_tokens; // tokens in one step over all sequences (scratch is sized by it), e.g. 128
    uint32_t max_sequences;
    // Pages in the KV store. 0: there is none, every sequence brings its own.
    uint32_t kv_page_total;
    void *kv_memory; // the store, 64-byte aligned, the caller's; NULL: allocated with the rest
    // Positions a sequence may use, at most the model's; 0: the model's. Models with longrope
    // choose their frequencies by it.
    uint32_t context;
    uint32_t kv_type;       // TN_F32, TN_F16, TN_Q8_0 or TN_Q4_0
    struct tn_trace *trace; // times by operation are added here; NULL: not measured
    // Memory for KV and scratch (2 MB pages in the guest): NULL = aligned_alloc/free.
    void *(*alloc)(size_t bytes);
    void (*free)(void *block);
};
struct tn_executor;
int tn_executor_open(const struct tn_model *m, const struct tn_executor_options *o,
                     struct tn_executor **out, char *error, size_t error_bytes);
void tn_executor_close(struct tn_executor *x);
// What it was opened with.
void tn_executor_limits(const struct tn_executor *x, struct tn_executor_options *out);
// Bytes of KV one page takes (all layers, K and V), and scratch bytes (an upper bound) for given
// limits: to plan memory before opening. The executor takes one block of page bytes * pages (unless
// kv_memory is given) + scratch.
size_t tn_kv_page_bytes(const struct tn_model *m, uint32_t kv_type);
size_t tn_scratch_bytes(const struct tn_model *m, uint32_t max_tokens, unsigned workers);
// Runs one step. 0, -EINVAL (limits, bad token or page, positions past the model's context), no
// allocation. One caller at a time.
int tn_step(struct tn_executor *x, const struct tn_step_sequence *sequences, size_t count);
// Copies a page's K and V of all layers into another page. 0, -EINVAL (no such page).
int tn_kv_copy(struct tn_executor *x, uint32_t from, uint32_t to);

#endif
