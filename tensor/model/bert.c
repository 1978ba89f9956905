// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// BERT as an encoder of whole texts: sums of token, type and position, norms after each branch,
// attention in both directions, rows pooled to one embedding. GELU by its tanh form, as in all
// engines that read these files. Source: Devlin et al. 2018.
#include "tensor/model/model_private.h"

static ir_value norm(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, const char *name,
                     ir_value x)
{
    return ir_layer_norm(g, x, ir_vector(g, h->embedding, "blk.%u.%s.weight", l, name),
                         ir_vector(g, h->embedding, "blk.%u.%s.bias", l, name), h->epsilon);
}

static ir_value feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    const uint32_t n = h->embedding, ff = h->feed_forward;
    ir_value up = ir_matmul(g, x, ir_matrix(g, n, ff, "blk.%u.ffn_up.weight", l),
                            ir_vector_optional(g, ff, "blk.%u.ffn_up.bias", l));
    return ir_matmul(g, ir_activate(g, up, IR_GELU),
                     ir_matrix(g, ff, n, "blk.%u.ffn_down.weight", l),
                     ir_vector_optional(g, n, "blk.%u.ffn_down.bias", l));
}

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding;
    const struct ir_attention attention = {.scale = tn_attention_scale(h), .everywhere = true};
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");
    struct ir_matrix positions = ir_matrix(g, n, h->context, "position_embd.weight");

    ir_value x = ir_embed(g, tokens, 1);
    if (ir_has(g, "token_types.weight")) { // every token is of the first type
        x = ir_add_vector(g, x, ir_vectors(g, n, h->token_types, "token_types.weight"));
    }
    x = ir_add_position(g, x, positions);
    x = ir_layer_norm(g, x, ir_vector(g, n, "token_embd_norm.weight"),
                      ir_vector(g, n, "token_embd_norm.bias"), h->epsilon);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        struct tn_qkv qkv = tn_qkv(g, h, l, x);
        ir_kv_store(g, l, qkv.k, qkv.v);
        ir_value o = tn_attention_output(g, h, l, ir_attention(g, l, qkv.q, attention));
        x = norm(g, h, l, "attn_output_norm", ir_add(g, x, o));
        x = norm(g, h, l, "layer_output_norm", ir_add(g, x, feed_forward(g, h, l, x)));
    }
    ir_pool(g, x, h->pooling);
}

const struct tn_architecture tn_architecture_bert = {
    .name = "bert", .epsilon = "attention.layer_norm_epsilon", .embeds = true, .build = build};
