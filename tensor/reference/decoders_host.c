// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The decoders with RMS norms and rotary positions: llama, qwen2, qwen3, qwen3moe, phi3, gemma2,
// gemma3, gpt-oss. One function goes through the layers; what differs is asked by name.
#include "tensor/reference/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(const struct reference *r, const char *architecture)
{
    return strcmp(r->architecture, architecture) == 0;
}

static bool is_gemma(const struct reference *r)
{
    return is(r, "gemma2") || is(r, "gemma3");
}

static const char *in_layer(uint32_t l, const char *name)
{
    static char text[4][96];
    static int next;
    next = (next + 1) % 4;
    snprintf(text[next], sizeof text[next], "blk.%u.%s", l, name);
    return text[next];
}

// Does the layer see a window only? The last of each period sees all.
static bool windowed(const struct reference *r, uint32_t l)
{
    uint32_t period = is(r, "gemma3") ? 6 : is(r, "gemma2") || is(r, "gpt-oss") ? 2 : 1;
    return l % period != period - 1;
}

static struct reference_rope rope_of(const struct reference *r, uint32_t l)
{
    struct gguf_string kind = {"", 0};
    char key[96];
    snprintf(key, sizeof key, "%s.rope.scaling.type", r->architecture);
    gguf_str(r->g, key, &kind);
    struct reference_rope rope = {.halves = !is(r, "llama"),
                                  .base = reference_number(r, "rope.freq_base", 10000),
                                  .factor = reference_number(r, "rope.scaling.factor", 1),
                                  .magnitude = reference_number(r, "rope.scaling.attn_factor", 1)};
    if (kind.bytes == 4 && memcmp(kind.data, "none", 4) == 0) {
        rope.factor = 1;
    }
    if (is(r, "gemma3") && windowed(r, l)) {
        rope.base = reference_number(r, "rope.freq_base_swa", 10000);
        rope.factor = 1;
        return rope;
    }
    rope.yarn = kind.bytes == 4 && memcmp(kind.data, "yarn", 4) == 0;
    rope.magnitude *= rope.yarn ? 1 + 0.1 * log(rope.factor) : 1;
    if (reference_has(r, "rope_freqs.weight")) {
        rope.divisors = "rope_freqs.weight";
    } else if (reference_has(r, "rope_factors_long.weight")) {
        bool beyond =
            r->context > reference_number(r, "rope.scaling.original_context_length", r->context);
        rope.divisors = beyond ? "rope_factors_long.weight" : "rope_factors_short.weight";
    }
    return rope;
}

static void project(const struct reference *r, uint32_t l, const double *x, double *q, double *k,
                    double *v)
{
    uint32_t nq = r->heads * r->dim, nkv = r->kv_heads * r->dim;
    if (is(r, "phi3")) {
        reference_product(r, in_layer(l, "attn_qkv"), 0, nq, x, q);
        reference_product(r, in_layer(l, "attn_qkv"), nq, nkv, x, k);
        reference_product(r, in_layer(l, "attn_qkv"), nq + nkv, nkv, x, v);
    } else {
        reference_product(r, in_layer(l, "attn_q"), 0, nq, x, q);
        reference_product(r, in_layer(l, "attn_k"), 0, nkv, x, k);
        reference_product(r, in_layer(l, "attn_v"), 0, nkv, x, v);
    }
    if (reference_has(r, in_layer(l, "attn_q_norm.weight"))) {
        reference_rms_norm(r, in_layer(l, "attn_q_norm.weight"), r->heads, q, r->dim);
        reference_rms_norm(r, in_layer(l, "attn_k_norm.weight"), r->kv_heads, k, r->dim);
    }
}

// ---- feed-forward ------------------------------------------------------------------------------

static double gated(const struct reference *r, double gate, double up)
{
    if (is(r, "gpt-oss")) {
        gate = fmin(gate, 7);
        up = fmin(fmax(up, -7), 7);
        return gate / (1 + exp(-1.702 * gate)) * (up + 1);
    }
    return (is_gemma(r) ? reference_gelu(gate) : reference_silu(gate)) * up;
}

static void feed_forward(const struct reference *r, uint32_t l, const double *x, double *y)
{
    uint32_t ff = r->feed_forward;
    double *gate = malloc(ff * sizeof *gate), *up = malloc(ff * sizeof *up);
    reference_product(r, in_layer(l, is(r, "phi3") ? "ffn_up" : "ffn_gate"), 0, ff, x, gate);
    reference_product(r, in_layer(l, "ffn_up"), is(r, "phi3") ? ff : 0, ff, x, up);
    for (uint32_t i = 0; i < ff; i++) {
        gate[i] = gated(r, gate[i], up[i]);
    }
    reference_product(r, in_layer(l, "ffn_down"), 0, r->n, gate, y);
    free(gate);
    free(up);
}

// The best `used` of the scores, and their weights: softmax over all, then divided by their sum;
// which is the same as gpt-oss's softmax over the chosen.
static void choose(const double *score, uint32_t count, uint32_t used, uint32_t *chosen,
                   double *weight)
{
    double sum = 0;
    for (uint32_t c = 0; c < used; c++) {
        chosen[c] = UINT32_MAX;
        for (uint32_t e = 0; e < count; e++) {
            bool taken = false;
            for (uint32_t p = 0; p < c; p++) {
                taken = taken || chosen[p] == e;
            }
            if (!taken && (chosen[c] == UINT32_MAX || score[e] > score[chosen[c]])) {
                chosen[c] = e;
            }
        }
        sum += weight[c] = exp(score[chosen[c]] - score[chosen[0]]);
    }
    for (uint32_t c = 0; c < used; c++) {
        weight[c] /= sum;
    }
}

static void experts(const struct reference *r, uint32_t l, const double *x, double *y)
{
    uint32_t count = (uint32_t)reference_number(r, "expert_count", 0);
    uint32_t used = (uint32_t)reference_number(r, "expert_used_count", 0);
    uint32_t ff = (uint32_t)reference_number(r, "expert_feed_forward_length", r->feed_forward);
    double *score = malloc(count * sizeof *score), *weight = malloc(used * sizeof *weight);
    double *gate = malloc(ff * sizeof *gate), *up = malloc(ff * sizeof *up);
    double *one = malloc(r->n * sizeof *one);
    uint32_t *chosen = malloc(used * sizeof *chosen);
    reference_product(r, in_layer(l, "ffn_gate_inp"), 0, count, x, score);
    choose(score, count, used, chosen, weight);
    memset(y, 0, r->n * sizeof *y);
    for (uint32_t c = 0; c < used; c++) {
        uint64_t e = chosen[c];
        reference_product(r, in_layer(l, "ffn_gate_exps"), e * ff, ff, x, gate);
        reference_product(r, in_layer(l, "ffn_up_exps"), e * ff, ff, x, up);
        for (uint32_t i = 0; i < ff; i++) {
            gate[i] = gated(r, gate[i], up[i]);
        }
        reference_product(r, in_layer(l, "ffn_down_exps"), e * r->n, r->n, gate, one);
        for (uint32_t i = 0; i < r->n; i++) {
            y[i] += weight[c] * one[i];
        }
    }
    free(score);
    free(weight);
    free(gate);
    free(up);
    free(one);
    free(chosen);
}

// ---- layers ------------------------------------------------------------------------------------

static void add(uint32_t n, double *x, const double *y)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static double scale_of(const struct reference *r)
{
    bool by_embedding =
        (is(r, "gemma2") && r->layers == 46) || (is(r, "gemma3") && r->layers == 62);
    return 1 / sqrt(by_embedding ? r->n / r->heads : r->dim);
}

static void layer(const struct reference *r, uint32_t l, uint32_t count, double *x)
{
    const uint32_t n = r->n, nq = r->heads * r->dim, nkv = r->kv_heads * r->dim;
    double *q = malloc((size_t)count * nq * sizeof *q), *o = malloc((size_t)count * nq * sizeof *o);
    double *k = malloc((size_t)count * nkv * sizeof *k);
    double *v = malloc((size_t)count * nkv * sizeof *v);
    double *a = malloc(n * sizeof *a), *y = malloc(n * sizeof *y);
    double *sinks = malloc(r->heads * sizeof *sinks);
    struct reference_rope rope = rope_of(r, l);
    struct reference_attention attention = {.scale = scale_of(r)};
    attention.softcap = is(r, "gemma2") ? reference_number(r, "attn_logit_softcapping", 0) : 0;
    attention.window =
        windowed(r, l) ? (uint32_t)reference_number(r, "attention.sliding_window", 4096) : 0;
    if (is(r, "gpt-oss")) {
        reference_row(r, in_layer(l, "attn_sinks.weight"), 0, sinks);
        attention.sinks = sinks;
    }
    for (uint32_t p = 0; p < count; p++) {
        memcpy(a, x + p * n, n * sizeof *a);
        reference_rms_norm(r, in_layer(l, "attn_norm.weight"), 1, a, n);
        project(r, l, a, q + p * nq, k + p * nkv, v + p * nkv);
        reference_turn(r, &rope, q + p * nq, r->heads, p);
        reference_turn(r, &rope, k + p * nkv, r->kv_heads, p);
    }
    reference_attend(r, &attention, count, q, k, v, o);
    for (uint32_t p = 0; p < count; p++) {
        reference_product(r, in_layer(l, "attn_output"), 0, n, o + p * nq, y);
        if (is_gemma(r)) {
            reference_rms_norm(r, in_layer(l, "post_attention_norm.weight"), 1, y, n);
        }
        add(n, x + p * n, y);

        memcpy(a, x + p * n, n * sizeof *a);
        const char *norm = is(r, "gpt-oss") ? "post_attention_norm.weight" : "ffn_norm.weight";
        reference_rms_norm(r, in_layer(l, norm), 1, a, n);
        if (reference_has(r, in_layer(l, "ffn_gate_inp.weight"))) {
            experts(r, l, a, y);
        } else {
            feed_forward(r, l, a, y);
        }
        if (is_gemma(r)) {
            reference_rms_norm(r, in_layer(l, "post_ffw_norm.weight"), 1, y, n);
        }
        add(n, x + p * n, y);
    }
    free(sinks);
    free(y);
    free(a);
    free(v);
    free(k);
    free(o);
    free(q);
}

static void decoder(const struct reference *r, const int32_t *tokens, uint32_t count,
                    double *logits)
{
    const uint32_t n = r->n;
    double *x = malloc((size_t)count * n * sizeof *x);
    for (uint32_t p = 0; p < count; p++) {
        reference_row(r, "token_embd.weight", (uint64_t)tokens[p], x + p * n);
        for (uint32_t i = 0; i < n && is_gemma(r); i++) {
            x[p * n + i] *= sqrt(n);
        }
    }
    for (uint32_t l = 0; l < r->layers; l++) {
        layer(r, l, count, x);
    }
    double cap = is_gemma(r) ? reference_number(r, "final_logit_softcapping", 0) : 0;
    const char *output = reference_has(r, "output.weight") ? "output" : "token_embd";
    for (uint32_t p = 0; p < count; p++) {
        double *row = logits + (size_t)p * r->vocabulary;
        reference_rms_norm(r, "output_norm.weight", 1, x + p * n, n);
        reference_product(r, output, 0, r->vocabulary, x + p * n, row);
        for (uint32_t i = 0; i < r->vocabulary && cap > 0; i++) {
            row[i] = cap * tanh(row[i] / cap);
        }
    }
    free(x);
}

// ---- GPT-2 -------------------------------------------------------------------------------------

static void gpt2_layer(const struct reference *r, uint32_t l, uint32_t count, double *x)
{
    const uint32_t n = r->n, ff = r->feed_forward;
    double *q = malloc((size_t)4 * count * n * sizeof *q), *k = q + (size_t)count * n;
    double *v = k + (size_t)count * n, *o = v + (size_t)count * n;
    double *a = malloc(n * sizeof *a), *y = malloc(n * sizeof *y), *f = malloc(ff * sizeof *f);
    struct reference_attention attention = {.scale = 1 / sqrt(r->dim)};
    for (uint32_t p = 0; p < count; p++) {
        memcpy(a, x + p * n, n * sizeof *a);
        reference_layer_norm(r, in_layer(l, "attn_norm"), a);
        reference_product(r, in_layer(l, "attn_qkv"), 0, n, a, q + p * n);
        reference_product(r, in_layer(l, "attn_qkv"), n, n, a, k + p * n);
        reference_product(r, in_layer(l, "attn_qkv"), 2 * n, n, a, v + p * n);
    }
    reference_attend(r, &attention, count, q, k, v, o);
    for (uint32_t p = 0; p < count; p++) {
        reference_product(r, in_layer(l, "attn_output"), 0, n, o + p * n, y);
        add(n, x + p * n, y);
        memcpy(a, x + p * n, n * sizeof *a);
        reference_layer_norm(r, in_layer(l, "ffn_norm"), a);
        reference_product(r, in_layer(l, "ffn_up"), 0, ff, a, f);
        for (uint32_t i = 0; i < ff; i++) {
            f[i] = reference_gelu(f[i]);
        }
        reference_product(r, in_layer(l, "ffn_down"), 0, n, f, y);
        add(n, x + p * n, y);
    }
    free(f);
    free(y);
    free(a);
    free(q);
}

static void gpt2(const struct reference *r, const int32_t *tokens, uint32_t count, double *logits)
{
    const uint32_t n = r->n;
    double *x = malloc((size_t)count * n * sizeof *x), *position = malloc(n * sizeof *position);
    for (uint32_t p = 0; p < count; p++) {
        reference_row(r, "token_embd.weight", (uint64_t)tokens[p], x + p * n);
        reference_row(r, "position_embd.weight", p, position);
        add(n, x + p * n, position);
    }
    for (uint32_t l = 0; l < r->layers; l++) {
        gpt2_layer(r, l, count, x);
    }
    const char *output = reference_has(r, "output.weight") ? "output" : "token_embd";
    for (uint32_t p = 0; p < count; p++) {
        reference_layer_norm(r, "output_norm", x + p * n);
        reference_product(r, output, 0, r->vocabulary, x + p * n,
                          logits + (size_t)p * r->vocabulary);
    }
    free(position);
    free(x);
}

bool reference_logits(const struct gguf *g, const int32_t *tokens, uint32_t count, uint32_t context,
                      double *logits)
{
    static const char *const known[] = {"llama", "qwen2",  "qwen3",  "qwen3moe",
                                        "phi3",  "gemma2", "gemma3", "gpt-oss"};
    struct reference r;
    reference_open(&r, g, context);
    if (is(&r, "gpt2")) {
        gpt2(&r, tokens, count, logits);
        return true;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (is(&r, known[i])) {
            decoder(&r, tokens, count, logits);
            return true;
        }
    }
    return false;
}
