// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of a model, and what an architecture's file offers.
#ifndef TENSOR_MODEL_PRIVATE_H
#define TENSOR_MODEL_PRIVATE_H

#include "tensor/ir/ir.h"
#include "tensor/model.h"

// Hyperparameters that all transformer architectures share, read from "<architecture>.*" keys.
struct tn_hparams {
    char architecture[32];
    uint32_t context, embedding, layers, heads, kv_heads, head_dim, feed_forward, vocabulary;
    uint32_t experts;
    float rms_epsilon;
    uint32_t rope_dimensions;
    double rope_base, rope_scale; // positions are divided by the scale
};

struct tn_architecture {
    const char *name; // general.architecture
    // Appends one step of the model to the graph; errors go into the graph.
    void (*build)(struct ir_graph *g, const struct tn_hparams *h);
};
extern const struct tn_architecture tn_architecture_llama;

struct tn_model {
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct tn_hparams hparams;
    struct ir_graph graph;
    struct tn_model_info info;
};

// Reads and checks the keys. 0 or a negative errno with the key named in error.
int tn_hparams_read(const struct gguf *g, struct tn_hparams *out, char *error, size_t error_bytes);
// Fills g->rope: frequencies base^(-2i/d), slowed by the linear scale and by rope_freqs.weight.
void tn_rope_prepare(struct ir_graph *g, const struct tn_hparams *h, bool split_halves);

#endif
