// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Parts that the equations of several architectures have in common.
#include "tensor/model/model_private.h"

float tn_attention_scale(const struct tn_hparams *h)
{
    return 1.0f / __builtin_sqrtf((float)h->head_dim);
}

uint32_t tn_layer_window(const struct tn_hparams *h, uint32_t layer, uint32_t period)
{
    if (h->windows_listed) {
        return h->layer_has_window[layer] ? h->window : 0;
    }
    period = h->window_period ? h->window_period : period;
    return layer % period < period - 1 ? h->window : 0;
}

struct tn_qkv tn_qkv(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    const uint32_t n = h->embedding, nq = h->heads * h->head_dim, nkv = h->kv_heads * h->head_dim;
    struct ir_matrix wq, wk, wv;
    const float *bq, *bk, *bv;
    if (ir_has(g, "blk.%u.attn_qkv.weight", l)) {
        struct ir_matrix fused = ir_matrix(g, n, nq + 2 * nkv, "blk.%u.attn_qkv.weight", l);
        wq = ir_matrix_rows(g, fused, 0, nq);
        wk = ir_matrix_rows(g, fused, nq, nkv);
        wv = ir_matrix_rows(g, fused, nq + nkv, nkv);
    } else {
        wq = ir_matrix(g, n, nq, "blk.%u.attn_q.weight", l);
        wk = ir_matrix(g, n, nkv, "blk.%u.attn_k.weight", l);
        wv = ir_matrix(g, n, nkv, "blk.%u.attn_v.weight", l);
    }
    const float *fused_bias = ir_vector_optional(g, nq + 2 * nkv, "blk.%u.attn_qkv.bias", l);
    if (fused_bias) {
        bq = fused_bias;
        bk = fused_bias + nq;
        bv = fused_bias + nq + nkv;
    } else {
        bq = ir_vector_optional(g, nq, "blk.%u.attn_q.bias", l);
        bk = ir_vector_optional(g, nkv, "blk.%u.attn_k.bias", l);
        bv = ir_vector_optional(g, nkv, "blk.%u.attn_v.bias", l);
    }
    ir_value q = ir_matmul(g, x, wq, bq);
    ir_value k = ir_matmul(g, x, wk, bk);
    return (struct tn_qkv){q, k, ir_matmul(g, x, wv, bv)};
}

ir_value tn_attention_output(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x)
{
    const uint32_t n = h->embedding, nq = h->heads * h->head_dim;
    return ir_matmul(g, x, ir_matrix(g, nq, n, "blk.%u.attn_output.weight", l),
                     ir_vector_optional(g, n, "blk.%u.attn_output.bias", l));
}

ir_value tn_gated_feed_forward(struct ir_graph *g, const struct tn_hparams *h, uint32_t l,
                               ir_value x, enum ir_activation activation)
{
    const uint32_t n = h->embedding, ff = h->feed_forward;
    ir_value gate = ir_matmul(g, x, ir_matrix(g, n, ff, "blk.%u.ffn_gate.weight", l),
                              ir_vector_optional(g, ff, "blk.%u.ffn_gate.bias", l));
    ir_value up = ir_matmul(g, x, ir_matrix(g, n, ff, "blk.%u.ffn_up.weight", l),
                            ir_vector_optional(g, ff, "blk.%u.ffn_up.bias", l));
    return ir_matmul(g, ir_gate(g, gate, up, activation),
                     ir_matrix(g, ff, n, "blk.%u.ffn_down.weight", l),
                     ir_vector_optional(g, n, "blk.%u.ffn_down.bias", l));
}

ir_value tn_experts(struct ir_graph *g, const struct tn_hparams *h, uint32_t l, ir_value x,
                    struct ir_experts e)
{
    const uint32_t n = h->embedding, count = h->experts;
    const uint32_t ff = h->expert_feed_forward ? h->expert_feed_forward : h->feed_forward;
    ir_value router = ir_matmul(g, x, ir_matrix(g, n, count, "blk.%u.ffn_gate_inp.weight", l),
                                ir_vector_optional(g, count, "blk.%u.ffn_gate_inp.bias", l));
    e.count = count;
    e.used = h->experts_used;
    e.weight_scale = 1;
    e.gate = ir_matrices(g, n, ff, count, "blk.%u.ffn_gate_exps.weight", l);
    e.up = ir_matrices(g, n, ff, count, "blk.%u.ffn_up_exps.weight", l);
    e.down = ir_matrices(g, ff, n, count, "blk.%u.ffn_down_exps.weight", l);
    if (ir_has(g, "blk.%u.ffn_gate_exps.bias", l)) {
        e.gate_bias = ir_vectors(g, ff, count, "blk.%u.ffn_gate_exps.bias", l);
        e.up_bias = ir_vectors(g, ff, count, "blk.%u.ffn_up_exps.bias", l);
        e.down_bias = ir_vectors(g, n, count, "blk.%u.ffn_down_exps.bias", l);
    }
    return ir_experts(g, x, router, &e);
}

struct ir_matrix tn_output_matrix(struct ir_graph *g, const struct tn_hparams *h,
                                  struct ir_matrix tokens)
{
    return ir_has(g, "output.weight") ? ir_matrix(g, h->embedding, h->vocabulary, "output.weight")
                                      : tokens;
}
