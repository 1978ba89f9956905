// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the CUDA executor: its memory, and the step under way.
#ifndef TENSOR_CUDA_EXECUTOR_H
#define TENSOR_CUDA_EXECUTOR_H

#include "tensor/cuda/device.h"
#include "tensor/cuda/pages.h"

enum {
    CUDA_LOGIT_ROWS = 64, // brought back at once
    CUDA_MOST_TOKENS = 2048,
};

// What a step tells the device, in one copy: tables one behind the other, each 16-byte aligned.
struct cuda_tables {
    size_t rows, outputs, turns, pages, bytes; // where each begins; all
};

struct tn_cuda_executor {
    struct tn_cuda_model *model;
    const struct ir_graph *graph;
    struct tn_cuda_executor_options options;
    struct cuda_pages pages;
    size_t kv_element; // bytes
    size_t page_bytes; // of one layer
    // The device's memory, float * and uint8_t * in its own addresses.
    cuda_address values, normed, gated, turned, logits, kv, fresh, tables;
    // This side of it, in memory that the device copies from and to at full speed.
    uint8_t *host_tables, *host_fresh;
    float *host_logits;
    cuda_stream stream;
    uint64_t steps, loaded_pages;
    cuda_result error; // the first one
    const char *doing; // what it came from
    char failure[240]; // in words, once it has failed

    // The step under way.
    struct cuda_tables at;
    const struct tn_step_sequence *sequences;
    size_t sequence_count;
    uint32_t row_count, output_count;
    float **logit_rows;            // where the outputs go
    const struct ir_op *normed_by; // what `normed` holds
    ir_value normed_value;
};

// The graph, operation by operation (walk.c). 0 or -EIO.
int cuda_walk(struct tn_cuda_executor *x);
// Notes an error of the driver; true if there was one now or before.
bool cuda_failed(struct tn_cuda_executor *x, cuda_result e, const char *doing);
// Fills the host's tables: rows, outputs, turns, pages (tables.c); copies what is missing of K and
// V to the device. 0; -ENOSPC, -EINVAL as cuda_pages_bind; -EIO.
int cuda_bind(struct tn_cuda_executor *x);
size_t cuda_tables_bytes(const struct tn_cuda_executor *x); // at most
// What the step added to K and V, into the sequences' own stores.
void cuda_store_fresh(const struct tn_cuda_executor *x);

#endif
