// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A model: weights (pointing into the GGUF), hyperparameters, tokenizer, and the graph of one step.
#ifndef TENSOR_MODEL_H
#define TENSOR_MODEL_H

#include "tensor/chat.h"
#include "tensor/gguf.h"
#include "tensor/tokenizer.h"

#include <stdbool.h>

struct tn_model;

struct tn_model_info {
    char name[128]; // general.name, or architecture
    char architecture[32];
    uint64_t parameters, weight_bytes;
    uint32_t context, embedding, layers, heads, kv_heads, head_dim, feed_forward, vocabulary;
    uint32_t weight_type; // the most common one, for display
    enum chat_format chat;
    bool embeds; // makes embeddings of whole texts (bert), no next token
    bool packed; // the file was written by `tessera pack`
    uint32_t experts, experts_used;
};

// The block must stay valid. Errors name the key or tensor ("blk.3.attn_q.weight: shape 64×64,
// expected 64×32").
int tn_model_open(const void *gguf, size_t bytes, struct tn_model **out, char *error,
                  size_t error_bytes);
// The same from an index that was opened before (shards, safetensors); on success it belongs to the
// model and is closed with it.
int tn_model_open_index(struct gguf *g, struct tn_model **out, char *error, size_t error_bytes);
void tn_model_close(struct tn_model *m);
void tn_model_info(const struct tn_model *m, struct tn_model_info *out);
const struct tokenizer *tn_model_tokenizer(const struct tn_model *m);
const struct gguf *tn_model_gguf(const struct tn_model *m);

#endif
