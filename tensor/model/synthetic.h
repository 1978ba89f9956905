// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small models of every architecture with seeded random weights, made in memory: for tests and for
// `make-model`. A weight's value depends on the seed, its tensor's name, its row and its column
// alone, so files that differ in the type hold the same model.
#ifndef TENSOR_SYNTHETIC_H
#define TENSOR_SYNTHETIC_H

#include "tensor/types.h"

#include <stdbool.h>
#include <stdint.h>

struct synthetic_options {
    const char *architecture;
    uint32_t type;        // of all matrices but those below
    uint32_t expert_type; // of the experts' matrices
    uint32_t embedding, layers, heads, kv_heads, head_dim, feed_forward, vocabulary, context;
    uint32_t experts, experts_used, expert_feed_forward; // llama: 0 experts: none
    uint32_t window;                                     // gemma2, gemma3, gpt-oss
    uint32_t pooling;                                    // bert: enum ir_pooling
    bool tied, biases;                                   // llama: biases of all its products
    const char *rope_scaling;                            // "linear", "yarn", "longrope" or NULL
    float rope_factor, rope_base, rope_attention_factor;
    uint32_t rope_context; // original_context_length; 0: not written
    bool rope_freqs;       // llama: a rope_freqs.weight
    bool listed;           // head_count_kv as a list of one number a layer
    bool listed_differ;    // of which the last is another
    uint64_t seed;
};

// NULL: no such architecture (architectures[] ends with NULL).
extern const char *const synthetic_architectures[];
bool synthetic_default(const char *architecture, uint32_t type, struct synthetic_options *out);
// The file, 64-byte aligned; the caller frees. NULL with a message on stderr: the sizes do not fit
// the types, or no memory.
void *synthetic_model(const struct synthetic_options *o, size_t *bytes);

#endif
