// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Gemma 3 (text): as Gemma 2, with norms of each head of Q and K in place of soft caps, five layers
// with a sliding window and plain rotary positions of base 10000 to one that sees all and has the
// scaled ones. Source: Gemma Team 2025.
#include "tensor/model/model_private.h"

enum { WINDOW_PERIOD = 6, WINDOW_BASE = 10000, LAYERS_OF_27B = 62 };

// The largest model divides by the width of a head's share of the embedding.
static float scale_of(const struct tn_hparams *h)
{
    uint32_t width = h->layers == LAYERS_OF_27B ? h->embedding / h->heads : h->head_dim;
    return 1.0f / __builtin_sqrtf((float)width);
}

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding, dim = h->head_dim;
    const double window_base = h->rope_base_window > 0 ? h->rope_base_window : WINDOW_BASE;
    const struct ir_rope *everywhere = tn_rope(g, h, true);
    const struct ir_rope *nearby = tn_rope_plain(g, h, true, window_base);
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens, __builtin_sqrtf((float)n));
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        const struct ir_attention attention = {.scale = scale_of(h),
                                               .window = tn_layer_window(h, l, WINDOW_PERIOD)};
        const struct ir_rope *rope = attention.window ? nearby : everywhere;
        ir_value a = ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        const float *q_norm = ir_vector(g, dim, "blk.%u.attn_q_norm.weight", l);
        const float *k_norm = ir_vector(g, dim, "blk.%u.attn_k_norm.weight", l);
        ir_value q = ir_head_norm(g, qkv.q, h->heads, q_norm, h->epsilon);
        ir_value k = ir_head_norm(g, qkv.k, h->kv_heads, k_norm, h->epsilon);
        q = ir_rope(g, q, h->heads, rope);
        ir_kv_store(g, l, ir_rope(g, k, h->kv_heads, rope), qkv.v);
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
    ir_logits(g, x, tn_output_matrix(g, h, tokens), NULL, h->logits_softcap);
}

const struct tn_architecture tn_architecture_gemma3 = {
    .name = "gemma3", .epsilon = "attention.layer_norm_rms_epsilon", .build = build};
