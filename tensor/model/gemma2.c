// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Gemma 2: embeddings scaled by sqrt(n), norms before and after each branch, GELU gates, soft caps
// on scores and logits, and a sliding window on every other layer. Source: Gemma Team 2024.
#include "tensor/model/model_private.h"

enum { WINDOW_PERIOD = 2, WINDOW = 4096, LAYERS_OF_27B = 46 };

// The largest model divides by the width of a head's share of the embedding.
static float scale_of(const struct tn_hparams *h)
{
    uint32_t width = h->layers == LAYERS_OF_27B ? h->embedding / h->heads : h->head_dim;
    return 1.0f / __builtin_sqrtf((float)width);
}

static void build(struct ir_graph *g, const struct tn_hparams *given)
{
    struct tn_hparams with_default = *given;
    const struct tn_hparams *h = &with_default;
    with_default.window = given->window ? given->window : WINDOW;
    const uint32_t n = h->embedding;
    const struct ir_rope *rope = tn_rope(g, h, true);
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens, __builtin_sqrtf((float)n));
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        const struct ir_attention attention = {.scale = scale_of(h),
                                               .softcap = h->attention_softcap,
                                               .window = tn_layer_window(h, l, WINDOW_PERIOD)};
        ir_value a = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        ir_value q = ir_rope(g, qkv.q, h->heads, rope);
        ir_kv_store(g, l, ir_rope(g, qkv.k, h->kv_heads, rope), qkv.v);
        ir_value o = tn_attention_output(g, h, l, ir_attention(g, l, q, attention));
        const float *after = ir_vector(g, n, "blk.%u.post_attention_norm.weight", l);
        x = ir_add(g, x, ir_rms_norm(g, o, after, h->epsilon));

        ir_value f = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.ffn_norm.weight", l), h->epsilon);
        f = tn_gated_feed_forward(g, h, l, f, IR_GELU);
        after = ir_vector(g, n, "blk.%u.post_ffw_norm.weight", l);
        x = ir_add(g, x, ir_rms_norm(g, f, after, h->epsilon));
    }
    x = ir_take_outputs(g, x);
    x = ir_rms_norm(g, x, ir_vector(g, n, "output_norm.weight"), h->epsilon);
    ir_logits(g, x, tokens, NULL, h->logits_softcap);
}

const struct tn_architecture tn_architecture_gemma2 = {
    .name = "gemma2", .epsilon = "attention.layer_norm_rms_epsilon", .build = build};
