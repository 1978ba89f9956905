// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// GPT-2: learned positions, layer norms, biases everywhere, GELU feed-forward. Source: Radford et
// al. 2019.
#include "tensor/model/model_private.h"

static ir_value feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    const uint32_t n = h->embedding, ff = h->feed_forward;
    ir_value up = ir_matmul(g, x, ir_matrix(g, n, ff, "blk.%u.ffn_up.weight", l),
                            ir_vector(g, ff, "blk.%u.ffn_up.bias", l));
    return ir_matmul(g, ir_activate(g, up, IR_GELU),
                     ir_matrix(g, ff, n, "blk.%u.ffn_down.weight", l),
                     ir_vector(g, n, "blk.%u.ffn_down.bias", l));
}

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding;
    const struct ir_attention attention = {.scale = tn_attention_scale(h)};
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");
    struct ir_matrix positions = ir_matrix(g, n, h->context, "position_embd.weight");

    ir_value x = ir_add_position(g, ir_embed(g, tokens, 1), positions);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        ir_value a = ir_layer_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l),
                                   ir_vector(g, n, "blk.%u.attn_norm.bias", l), h->epsilon);
        struct tn_qkv qkv = tn_qkv(g, h, l, a);
        ir_kv_store(g, l, qkv.k, qkv.v);
        x = ir_add(g, x, tn_attention_output(g, h, l, ir_attention(g, l, qkv.q, attention)));

        ir_value f = ir_layer_norm(g, x, ir_vector(g, n, "blk.%u.ffn_norm.weight", l),
                                   ir_vector(g, n, "blk.%u.ffn_norm.bias", l), h->epsilon);
        x = ir_add(g, x, feed_forward(g, h, l, f));
    }
    x = ir_take_outputs(g, x);
    x = ir_layer_norm(g, x, ir_vector(g, n, "output_norm.weight"),
                      ir_vector(g, n, "output_norm.bias"), h->epsilon);
    ir_logits(g, x, tn_output_matrix(g, h, tokens), NULL, 0);
}

const struct tn_architecture tn_architecture_gpt2 = {
    .name = "gpt2", .epsilon = "attention.layer_norm_epsilon", .build = build};
