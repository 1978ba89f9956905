// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Training sessions: a small model of the llama architecture that learns from batches of token ids,
// one AdamW step a call. The same options, seed and batches give the same bits, whatever the
// number of workers, on CPUs of one ISA level. Host only (tensor/train is not linked into guests).
//
// Who fills options and batches may be hostile, and may change a batch while it is read: it is
// copied once, then checked. Nothing of the caller's is kept.
#ifndef TENSOR_TRAIN_H
#define TENSOR_TRAIN_H

#include "tensor/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_train_options {
    // heads divide width into even parts, kv_heads divide heads. Most: vocabulary 2^20, width 2^14,
    // layers 512, heads 2^10, feed_forward 2^17, context 2^16.
    uint32_t vocabulary, width, layers, heads, kv_heads, feed_forward, context;
    bool tied;       // the token table is also the output matrix
    float rope_base; // at least 1, e.g. 10000
    float epsilon;   // of RMSNorm, e.g. 1e-5
    uint32_t seed;   // of the parameters to begin with
    // A batch is cut into up to `shards` (1024 at most) parts of whole sequences, each of up to
    // shard_tokens tokens (context to 2^16); workers take shards.
    uint32_t shards, shard_tokens;
    float rate, decay, clip; // of AdamW; clip: greatest norm of a gradient
    // The rate rises for `warmup` steps, then falls along a cosine to a fiftieth at `steps`.
    uint32_t warmup, steps; // steps 0: it stays
    uint64_t memory_most;   // bytes
};

// Sequences one after the other; each is read by itself.
struct tn_train_batch {
    const int32_t *tokens;   // [token_count]
    const int32_t *targets;  // [token_count]: what should follow, negative: not part of the loss.
                             // NULL: the next token of the sequence, nothing after its last.
    const uint32_t *lengths; // [sequence_count], 1 to context each; their sum is token_count
    uint32_t token_count, sequence_count;
};

struct tn_train_report {
    double loss; // mean over the targets, in nats, before the step
    double norm; // of the gradient, before clipping
    float rate;
    uint32_t step, tokens, targets; // steps done so far
};

struct tn_train_tensor {
    char name[48];                  // as in a GGUF file
    uint64_t offset, rows, columns; // in the parameters; vectors have one row
};

struct tn_train;
// 0, -EINVAL (a size or number that cannot be), -ENOMEM (more than memory_most, or none to be had);
// `error` says which. The pool must stay usable until tn_train_close. One caller at a time for each
// session, and for each pool.
int tn_train_open(const struct tn_train_options *options, struct tn_pool *pool,
                  struct tn_train **out, char *error, size_t error_bytes);
void tn_train_close(struct tn_train *t); // NULL: nothing

// 0; -EINVAL: an id, a target, a length, or more than fits into the shards (in order, a sequence
// that does not fit begins the next one); -EDOM: no targets; -ERANGE: the loss or the gradient is
// no finite number, and the parameters are as they were; -ENOMEM.
int tn_train_step(struct tn_train *t, const struct tn_train_batch *batch,
                  struct tn_train_report *report, char *error, size_t error_bytes);
// The mean loss, nothing is learned. The same errors.
int tn_train_evaluate(struct tn_train *t, const struct tn_train_batch *batch, double *loss,
                      char *error, size_t error_bytes);

// Parameters, all tensors in one array.
uint64_t tn_train_parameters(const struct tn_train *t);
// Copies `count` from `first` on out, or in (the optimiser's state stays). -EINVAL: there are not
// so many.
int tn_train_read(const struct tn_train *t, uint64_t first, uint64_t count, float *out);
int tn_train_write(struct tn_train *t, uint64_t first, uint64_t count, const float *in);
// The tensor at `index`, from 0 on. -EINVAL: no more.
int tn_train_tensor_at(const struct tn_train *t, uint32_t index, struct tn_train_tensor *out);
// Multiply-adds of a step of all shards' tokens, an estimate; and bytes that the session takes.
uint64_t tn_train_work(const struct tn_train *t);
uint64_t tn_train_memory(const struct tn_train *t);

#endif
