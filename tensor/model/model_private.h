// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of a model, and what an architecture's file offers.
#ifndef TENSOR_MODEL_PRIVATE_H
#define TENSOR_MODEL_PRIVATE_H

#include "tensor/ir/ir.h"
#include "tensor/model.h"

enum { TN_MOST_LAYERS = 1024 };

enum tn_rope_scaling {
    TN_ROPE_PLAIN,
    TN_ROPE_LINEAR,
    TN_ROPE_YARN,
    TN_ROPE_LONG // factors of each pair in rope_factors_long/short.weight
};

// Hyperparameters that all transformer architectures share, read from "<architecture>.*" keys and
// bounded. What a file does not say is 0, or the default that is noted.
struct tn_hparams {
    char architecture[32];
    uint32_t context, embedding, layers, heads, kv_heads, head_dim, feed_forward, vocabulary;
    float epsilon; // of all norms
    uint32_t experts, experts_used, expert_feed_forward;
    uint32_t rope_dimensions; // head_dim
    double rope_base;         // 10000
    double rope_base_window;  // of layers with a window; 0: not said
    enum tn_rope_scaling rope_scaling;
    double rope_factor;           // positions are divided by it; 1
    double rope_attention_factor; // magnitude of the turns; 1
    uint32_t rope_context;        // what the unscaled model was made for; `context`
    double yarn_fast, yarn_slow;  // turns within rope_context; 32 and 1
    float attention_softcap, logits_softcap;
    uint32_t window;
    uint32_t window_period;                // every such layer sees all; 0: not said
    bool windows_listed;                   // the file says it for each layer:
    bool layer_has_window[TN_MOST_LAYERS]; // (otherwise by the period)
    uint32_t token_types;
    enum ir_pooling pooling;
};

struct tn_architecture {
    const char *name;    // general.architecture
    const char *epsilon; // key of the norms' epsilon
    bool embeds;         // makes embeddings, no next token
    // Appends one step of the model to the graph; errors go into the graph.
    void (*build)(struct ir_graph *g, const struct tn_hparams *h);
};
extern const struct tn_architecture tn_architecture_llama, tn_architecture_qwen2,
    tn_architecture_qwen3, tn_architecture_qwen3moe, tn_architecture_phi3, tn_architecture_gemma2,
    tn_architecture_gemma3, tn_architecture_gpt2, tn_architecture_bert, tn_architecture_gpt_oss;

struct tn_model {
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct tn_hparams hparams;
    struct ir_graph graph;
    struct tn_model_info info;
};

// Reads and checks the keys. 0 or a negative errno with the key named in error.
int tn_hparams_read(const struct gguf *g, const struct tn_architecture *a, struct tn_hparams *out,
                    char *error, size_t error_bytes);

// ---- what equations have in common (parts.c, rope.c) -------------------------------------------

// Rotary positions with the file's scaling, and with plain frequencies of another base.
const struct ir_rope *tn_rope(struct ir_graph *g, const struct tn_hparams *h, bool split_halves);
const struct ir_rope *tn_rope_plain(struct ir_graph *g, const struct tn_hparams *h,
                                    bool split_halves, double base);
// 1 / sqrt(head_dim)
float tn_attention_scale(const struct tn_hparams *h);
// The window of a layer, 0 for all: `period` where the file does not say.
uint32_t tn_layer_window(const struct tn_hparams *h, uint32_t layer, uint32_t period);
// Q, K and V of a layer's normed input, out of attn_q, attn_k and attn_v or the fused attn_qkv,
// with their biases if there are any.
struct tn_qkv {
    ir_value q, k, v;
};
struct tn_qkv tn_qkv(struct ir_graph *g, const struct tn_hparams *h, uint32_t layer, ir_value x);
// attn_output of the attention's result, with its bias if there is one.
ir_value tn_attention_output(struct ir_graph *g, const struct tn_hparams *h, uint32_t layer,
                             ir_value x);
// down(activation(gate x) * (up x)), with biases if there are any.
ir_value tn_gated_feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t layer,
                               ir_value x, enum ir_activation activation);
// The experts' matrices of a layer and the chosen ones' mixture: `e` says how, its matrices and
// biases are filled in.
ir_value tn_experts(struct ir_graph *g, const struct tn_hparams *h, uint32_t layer, ir_value x,
                    struct ir_experts e);
// The output matrix, or the token table where the file has none.
struct ir_matrix tn_output_matrix(struct ir_graph *g, const struct tn_hparams *h,
                                  struct ir_matrix tokens);

#endif
