// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Qwen3 and its mixture of experts: as llama, with each head of Q and K normed before it turns, and
// heads of their own size. Source: Yang et al. 2025 (Qwen3 technical report).
#include "tensor/model/model_private.h"

#include <errno.h>

typedef ir_value feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l,
                              ir_value x);

static void build_with(struct ir_graph *g, const struct tn_hparams *h, feed_forward *feed)
{
    const uint32_t n = h->embedding, dim = h->head_dim;
    const struct ir_rope *rope = tn_rope(g, h, true);
    const struct ir_attention attention = {.scale = tn_attention_scale(h)};
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens, 1);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        ir_value a = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        const float *q_norm = ir_vector(g, dim, "blk.%u.attn_q_norm.weight", l);
        const float *k_norm = ir_vector(g, dim, "blk.%u.attn_k_norm.weight", l);
        ir_value q = ir_head_norm(g, qkv.q, h->heads, q_norm, h->epsilon);
        ir_value k = ir_head_norm(g, qkv.k, h->kv_heads, k_norm, h->epsilon);
        q = ir_rope(g, q, h->heads, rope);
        ir_kv_store(g, l, ir_rope(g, k, h->kv_heads, rope), qkv.v);
        x = ir_add(g, x, tn_attention_output(g, h, l, ir_attention(g, l, q, attention)));

        ir_value f = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.ffn_norm.weight", l), h->epsilon);
        x = ir_add(g, x, feed(g, h, l, f));
    }
    x = ir_take_outputs(g, x);
    x = ir_rms_norm(g, x, ir_vector(g, n, "output_norm.weight"), h->epsilon);
    ir_logits(g, x, tn_output_matrix(g, h, tokens), NULL, 0);
}

static ir_value dense(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    return tn_gated_feed_forward(g, h, l, x, IR_SILU);
}

static ir_value experts(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    return tn_experts(g, h, l, x, (struct ir_experts){.normalised = true, .activation = IR_SILU});
}

static void build_dense(struct ir_graph *g, const struct tn_hparams *h)
{
    build_with(g, h, dense);
}

static void build_experts(struct ir_graph *g, const struct tn_hparams *h)
{
    if (h->experts == 0 || h->expert_feed_forward == 0) {
        ir_fail(g, -ENOENT, "qwen3moe.%s: key is missing or 0",
                h->experts ? "expert_feed_forward_length" : "expert_count");
        return;
    }
    build_with(g, h, experts);
}

const struct tn_architecture tn_architecture_qwen3 = {
    .name = "qwen3", .epsilon = "attention.layer_norm_rms_epsilon", .build = build_dense};
const struct tn_architecture tn_architecture_qwen3moe = {
    .name = "qwen3moe", .epsilon = "attention.layer_norm_rms_epsilon", .build = build_experts};
