// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// gpt-oss: as llama with rotary positions on half-split pairs (YaRN), a sink score of each head, a
// sliding window on every other layer, and experts with biases, clamped gates and a softmax over
// the chosen scores. Source: OpenAI 2025 (gpt-oss model card and its reference code).
#include "tensor/model/model_private.h"

#include <errno.h>

enum { WINDOW_PERIOD = 2 };

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    if (h->experts == 0 || h->window == 0) {
        ir_fail(g, -ENOENT, "gpt-oss.%s: key is missing or 0",
                h->experts ? "attention.sliding_window" : "expert_count");
        return;
    }
    const uint32_t n = h->embedding;
    const struct ir_rope *rope = tn_rope(g, h, true);
    const struct ir_experts experts = {.softmax_chosen = true, .activation = IR_SWIGLU_OAI};
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens, 1);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        const struct ir_attention attention = {
            .scale = tn_attention_scale(h),
            .window = tn_layer_window(h, l, WINDOW_PERIOD),
            .sinks = ir_vector(g, h->heads, "blk.%u.attn_sinks.weight", l)};
        ir_value a = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        ir_value q = ir_rope(g, qkv.q, h->heads, rope);
        ir_kv_store(g, l, ir_rope(g, qkv.k, h->kv_heads, rope), qkv.v);
        x = ir_add(g, x, tn_attention_output(g, h, l, ir_attention(g, l, q, attention)));

        const float *norm = ir_vector(g, n, "blk.%u.post_attention_norm.weight", l);
        x = ir_add(g, x, tn_experts(g, h, l, ir_rms_norm(g, x, norm, h->epsilon), experts));
    }
    x = ir_take_outputs(g, x);
    x = ir_rms_norm(g, x, ir_vector(g, n, "output_norm.weight"), h->epsilon);
    ir_logits(g, x, tn_output_matrix(g, h, tokens), NULL, 0);
}

const struct tn_architecture tn_architecture_gpt_oss = {
    .name = "gpt-oss", .epsilon = "attention.layer_norm_rms_epsilon", .build = build};
