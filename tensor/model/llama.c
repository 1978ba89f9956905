// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Llama: pre-norm transformer, rotary positions on neighbouring pairs, grouped-query attention,
// SwiGLU feed-forward. Source: Touvron et al. 2023 and the llama keys and tensors of GGUF.
#include "tensor/model/model_private.h"

#include <errno.h>

static void build(struct ir_graph *g, const struct tn_hparams *h)
{
    const uint32_t n = h->embedding, ff = h->feed_forward;
    const uint32_t nq = h->heads * h->head_dim, nkv = h->kv_heads * h->head_dim;
    if (h->experts) {
        ir_fail(g, -ENOTSUP, "llama.expert_count: mixtures of experts are not supported");
        return;
    }
    tn_rope_prepare(g, h, false);
    const float scale = 1.0f / __builtin_sqrtf((float)h->head_dim);
    struct ir_matrix tokens = ir_matrix(g, n, h->vocabulary, "token_embd.weight");

    ir_value x = ir_embed(g, tokens);
    for (uint32_t l = 0; l < h->layers && !g->error; l++) {
        ir_value a =
            ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.attn_norm.weight", l), h->rms_epsilon);
        ir_value q = ir_matmul(g, a, ir_matrix(g, n, nq, "blk.%u.attn_q.weight", l),
                               ir_vector_optional(g, nq, "blk.%u.attn_q.bias", l));
        ir_value k = ir_matmul(g, a, ir_matrix(g, n, nkv, "blk.%u.attn_k.weight", l),
                               ir_vector_optional(g, nkv, "blk.%u.attn_k.bias", l));
        ir_value v = ir_matmul(g, a, ir_matrix(g, n, nkv, "blk.%u.attn_v.weight", l),
                               ir_vector_optional(g, nkv, "blk.%u.attn_v.bias", l));
        q = ir_rope(g, q, h->heads);
        k = ir_rope(g, k, h->kv_heads);
        ir_kv_store(g, l, k, v);
        ir_value o = ir_attention(g, l, q, scale);
        x = ir_add(g, x,
                   ir_matmul(g, o, ir_matrix(g, nq, n, "blk.%u.attn_output.weight", l),
                             ir_vector_optional(g, n, "blk.%u.attn_output.bias", l)));

        ir_value f =
            ir_rms_norm(g, x, ir_vector(g, n, "blk.%u.ffn_norm.weight", l), h->rms_epsilon);
        ir_value gate = ir_matmul(g, f, ir_matrix(g, n, ff, "blk.%u.ffn_gate.weight", l),
                                  ir_vector_optional(g, ff, "blk.%u.ffn_gate.bias", l));
        ir_value up = ir_matmul(g, f, ir_matrix(g, n, ff, "blk.%u.ffn_up.weight", l),
                                ir_vector_optional(g, ff, "blk.%u.ffn_up.bias", l));
        x = ir_add(g, x,
                   ir_matmul(g, ir_silu_mul(g, gate, up),
                             ir_matrix(g, ff, n, "blk.%u.ffn_down.weight", l),
                             ir_vector_optional(g, n, "blk.%u.ffn_down.bias", l)));
    }
    x = ir_take_outputs(g, x);
    x = ir_rms_norm(g, x, ir_vector(g, n, "output_norm.weight"), h->rms_epsilon);
    bool tied = !ir_has(g, "output.weight");
    ir_logits(g, x, tied ? tokens : ir_matrix(g, n, h->vocabulary, "output.weight"), NULL);
}

const struct tn_architecture tn_architecture_llama = {.name = "llama", .build = build};
