// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Llama: pre-norm transformer, rotary positions on neighbouring pairs, grouped-query attention,
// SwiGLU feed-forward or a mixture of such experts (Mixtral). Source: Touvron et al. 2023, Jiang et
// al. 2024, and GGUF's keys and tensors of llama.
#include "tensor/model/model_private.h"

static ir_value feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    if (h->experts == 0) {
        return tn_gated_feed_forward(g, h, l, x, IR_SILU);
    }
    return tn_experts(g, h, l, x, (struct ir_experts){.normalised = true, .activation = IR_SILU});
}

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding;
    bool halves = false; // rows as Hugging Face has them (tensor/safetensors.h)
    gguf_bool(g->source, "tessera.rope.split_halves", &halves);
    const struct ir_rope *rope = tn_rope(g, h, halves);
    const struct ir_attention attention = {.scale = tn_attention_scale(h)};
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens, 1);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        ir_value a = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        ir_value q = ir_rope(g, qkv.q, h->heads, rope);
        ir_kv_store(g, l, ir_rope(g, qkv.k, h->kv_heads, rope), qkv.v);
        x = ir_add(g, x, tn_attention_output(g, h, l, ir_attention(g, l, q, attention)));

        ir_value f = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.ffn_norm.weight", l), h->epsilon);
        x = ir_add(g, x, feed_forward(g, h, l, f));
    }
    x = ir_take_outputs(g, x);
    x = ir_rms_norm(g, x, ir_vector(g, n, "output_norm.weight"), h->epsilon);
    ir_logits(g, x, tn_output_matrix(g, h, tokens), NULL, 0);
}

const struct tn_architecture tn_architecture_llama = {
    .name = "llama", .epsilon = "attention.layer_norm_rms_epsilon", .build = build};
