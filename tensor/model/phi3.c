// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Phi-3: as llama, with Q, K, V and the gate with up fused into one matrix each (the gate first)
// and longrope: factors for each pair, chosen by the context that sequences may use. The sliding
// window that some of its files name is not applied: they were converted with wrong values, and no
// engine uses it. Source: Abdin et al. 2024, Ding et al. 2024 (LongRoPE).
#include "tensor/model/model_private.h"

static ir_value feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    const uint32_t n = h->embedding, ff = h->feed_forward;
    struct ir_matrix fused = ir_matrix(g, n, 2 * ff, "blk.%u.ffn_up.weight", l);
    ir_value gate = ir_matmul(g, x, ir_matrix_rows(g, fused, 0, ff), NULL);
    ir_value up = ir_matmul(g, x, ir_matrix_rows(g, fused, ff, ff), NULL);
    return ir_matmul(g, ir_gate(g, gate, up, IR_SILU),
                     ir_matrix(g, ff, n, "blk.%u.ffn_down.weight", l), NULL);
}

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding;
    const struct ir_rope *rope = tn_rope(g, h, true);
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

const struct tn_architecture tn_architecture_phi3 = {
    .name = "phi3", .epsilon = "attention.layer_norm_rms_epsilon", .build = build};
