// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Synthetic models: keys, and tensors whose spread keeps activations near one
// and lets the context decide the logits.
#include "tensor/model/synthetic_private.h"

#include "tensor/ir/ir.h"
#include "tensor/quant.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const synthetic_architectures[] = {"llama",   "qwen2",  "qwen3",  "qwen3moe",
                                               "phi3",    "gemma2", "gemma3", "gpt2",
                                               "gpt-oss", "bert",   NULL};

struct maker {
    const struct synthetic_options *o;
    struct tn_gguf_writer *writer;
    uint8_t **block; // the tensors' data, in order
    size_t *block_bytes, block_count;
    bool failed;
};

bool synthetic_default(const char *architecture, uint32_t type, struct synthetic_options *out)
{
    size_t i = 0;
    while (synthetic_architectures[i] && strcmp(synthetic_architectures[i], architecture) != 0) {
        i++;
    }
    if (!synthetic_architectures[i]) {
        return false;
    }
    *out = (struct synthetic_options){.architecture = architecture,
                                      .type = type,
                                      .expert_type = type,
                                      .embedding = 64,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .head_dim = 16,
                                      .feed_forward = 96,
                                      .vocabulary = 320,
                                      .context = 256,
                                      .window = 24,
                                      .pooling = IR_POOL_MEAN,
                                      .rope_factor = 4,
                                      .rope_base = 10000,
                                      .rope_attention_factor = 1,
                                      .seed = 1};
    if (is(out, "gpt2") || is(out, "bert")) {
        out->kv_heads = out->heads;
    }
    out->tied = is(out, "gpt2") || is(out, "gemma2") || is(out, "gemma3");
    out->layers = is(out, "gemma3") ? 6 : 2; // one layer that sees all
    if (is(out, "qwen3moe") || is(out, "gpt-oss")) {
        out->experts = 8;
        out->experts_used = 2;
        out->expert_feed_forward = 64;
    }
    if (is(out, "gpt-oss")) {
        out->rope_scaling = "yarn";
        out->rope_context = 64;
    }
    return true;
}

// ---- random numbers ----------------------------------------------------------------------------

static uint64_t mixed(uint64_t z) // SplitMix64
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t name_hash(const char *name)
{
    uint64_t h = 14695981039346656037u; // FNV-1a
    for (; *name; name++) {
        h = (h ^ (uint8_t)*name) * 1099511628211u;
    }
    return h;
}

// Nearly normal, of variance 1: four uniform numbers of sixteen bits.
static float normal(uint64_t key)
{
    uint64_t z = mixed(key);
    double sum = (double)(z & 65535) + (double)(z >> 16 & 65535) + (double)(z >> 32 & 65535) +
                 (double)(z >> 48);
    return (float)((sum - 131070) / 37837);
}

static float uniform(uint64_t key) // [0, 1)
{
    return (float)(mixed(key) >> 40) * 0x1p-24f;
}

// ---- tensors -----------------------------------------------------------------------------------

static void add_block(struct maker *m, const char *name, uint32_t type, const uint64_t *dims,
                      uint32_t dim_count, uint8_t *data, size_t bytes)
{
    size_t n = m->block_count + 1;
    uint8_t **block = realloc(m->block, n * sizeof *block);
    m->block = block ? block : m->block;
    size_t *sizes = realloc(m->block_bytes, n * sizeof *sizes);
    m->block_bytes = sizes ? sizes : m->block_bytes;
    if (!block || !sizes) {
        m->failed = true;
        free(data);
        return;
    }
    m->block[m->block_count] = data;
    m->block_bytes[m->block_count++] = bytes;
    tn_gguf_put_tensor(m->writer, name, type, dims, dim_count, data, bytes);
}

// `count` matrices of rows × columns. Rows, and runs of 32 in them, differ in their spread, so that
// the scales of blocks do.
static void matrices(struct maker *m, uint32_t type, uint64_t columns, uint64_t rows,
                     uint64_t count, float spread, const char *name)
{
    size_t row_bytes = tn_row_bytes(type, columns);
    float *x = malloc(columns * sizeof *x);
    uint8_t *data = malloc(row_bytes * rows * count + 1);
    if (row_bytes == 0 || !x || !data) {
        fprintf(stderr, "%s: rows of %llu values do not fit type %s\n", name,
                (unsigned long long)columns, tn_type_info(type)->name);
        m->failed = true;
        free(x);
        free(data);
        return;
    }
    for (uint64_t r = 0; r < rows * count; r++) {
        uint64_t key = mixed(m->o->seed ^ name_hash(name)) + r * 0xd1342543de82ef95u;
        float of_row = spread * (0.75f + 0.5f * uniform(key));
        for (uint64_t i = 0; i < columns; i++) {
            float of_run = of_row * (0.7f + 0.6f * uniform(key ^ (i / 32 + 1) << 32));
            x[i] = of_run * normal(key + i * 0x9e3779b97f4a7c15u);
        }
        if (tn_quant_encode(type, x, columns, data + r * row_bytes) != 0) {
            m->failed = true;
        }
    }
    free(x);
    add_block(m, name, type, (const uint64_t[]){columns, rows, count}, count > 1 ? 3 : 2, data,
              row_bytes * rows * count);
}

static void matrix(struct maker *m, uint64_t columns, uint64_t rows, float spread, const char *name)
{
    matrices(m, m->o->type, columns, rows, 1, spread, name);
}

static void vectors(struct maker *m, uint64_t length, uint64_t count, float center, float spread,
                    const char *name)
{
    float *x = malloc(length * count * sizeof *x);
    if (!x) {
        m->failed = true;
        return;
    }
    uint64_t key = mixed(m->o->seed ^ name_hash(name));
    for (uint64_t i = 0; i < length * count; i++) {
        x[i] = center + spread * normal(key + i * 0x9e3779b97f4a7c15u);
    }
    add_block(m, name, TN_F32, (const uint64_t[]){length, count}, count > 1 ? 2 : 1, (uint8_t *)x,
              length * count * sizeof *x);
}

static void vector(struct maker *m, uint64_t length, float center, float spread, const char *name)
{
    vectors(m, length, 1, center, spread, name);
}

// One factor a pair: 1 for fast ones, rising to `most` for slow ones.
static void factors(struct maker *m, float most, const char *name)
{
    uint32_t pairs = m->o->head_dim / 2;
    float *x = malloc(pairs * sizeof *x);
    if (!x) {
        m->failed = true;
        return;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        x[i] = 1 + (most - 1) * (float)i / (float)pairs;
    }
    add_block(m, name, TN_F32, (const uint64_t[]){pairs}, 1, (uint8_t *)x, pairs * sizeof *x);
}

static const char *layer_name(uint32_t layer, const char *what)
{
    static _Thread_local char name[64];
    snprintf(name, sizeof name, "blk.%u.%s", layer, what);
    return name;
}
#define IN_LAYER(what) layer_name(l, what)

// ---- a layer -----------------------------------------------------------------------------------

static void norm(struct maker *m, const char *weight, const char *bias)
{
    char name[64];
    snprintf(name, sizeof name, "%s", weight);
    vector(m, m->o->embedding, 1, 0.1f, name);
    if (bias) {
        snprintf(name, sizeof name, "%s", bias);
        vector(m, m->o->embedding, 0, 0.05f, name);
    }
}

static void layer_attention(struct maker *m, uint32_t l, float residual)
{
    const struct synthetic_options *o = m->o;
    uint64_t n = o->embedding, q = (uint64_t)o->heads * o->head_dim;
    uint64_t kv = (uint64_t)o->kv_heads * o->head_dim;
    float in = 1 / sqrtf((float)n);
    bool biased = o->biases || is(o, "qwen2") || is(o, "gpt-oss") || is(o, "bert");
    if (is(o, "phi3") || is(o, "gpt2")) {
        matrix(m, n, q + 2 * kv, 1.2f * in, IN_LAYER("attn_qkv.weight"));
        if (is(o, "gpt2")) {
            vector(m, q + 2 * kv, 0, 0.1f, IN_LAYER("attn_qkv.bias"));
        }
    } else {
        matrix(m, n, q, 1.5f * in, IN_LAYER("attn_q.weight"));
        matrix(m, n, kv, in, IN_LAYER("attn_k.weight"));
        matrix(m, n, kv, in, IN_LAYER("attn_v.weight"));
    }
    if (biased) {
        vector(m, q, 0, 0.3f, IN_LAYER("attn_q.bias"));
        vector(m, kv, 0, 0.3f, IN_LAYER("attn_k.bias"));
        vector(m, kv, 0, 0.1f, IN_LAYER("attn_v.bias"));
    }
    if (is(o, "qwen3") || is(o, "qwen3moe") || is(o, "gemma3")) {
        vector(m, o->head_dim, 1, 0.1f, IN_LAYER("attn_q_norm.weight"));
        vector(m, o->head_dim, 1, 0.1f, IN_LAYER("attn_k_norm.weight"));
    }
    matrix(m, q, n, residual / sqrtf((float)q), IN_LAYER("attn_output.weight"));
    if ((biased && !is(o, "qwen2")) || is(o, "gpt2")) {
        vector(m, n, 0, 0.05f, IN_LAYER("attn_output.bias"));
    }
    if (is(o, "gpt-oss")) {
        vector(m, o->heads, 0, 1, IN_LAYER("attn_sinks.weight"));
    }
}

static void layer_experts(struct maker *m, uint32_t l, float residual)
{
    const struct synthetic_options *o = m->o;
    uint64_t n = o->embedding, ff = o->expert_feed_forward, count = o->experts;
    float in = 1 / sqrtf((float)n);
    // Scores far apart: which experts a token takes should not hang on rounding.
    matrices(m, TN_F32, n, count, 1, 4 * in, IN_LAYER("ffn_gate_inp.weight"));
    matrices(m, o->expert_type, n, ff, count, in, IN_LAYER("ffn_gate_exps.weight"));
    matrices(m, o->expert_type, n, ff, count, in, IN_LAYER("ffn_up_exps.weight"));
    matrices(m, o->expert_type, ff, n, count, 2 * residual / sqrtf((float)ff),
             IN_LAYER("ffn_down_exps.weight"));
    if (is(o, "gpt-oss")) {
        vector(m, count, 0, 0.3f, IN_LAYER("ffn_gate_inp.bias"));
        vectors(m, ff, count, 0, 0.1f, IN_LAYER("ffn_gate_exps.bias"));
        vectors(m, ff, count, 0, 0.1f, IN_LAYER("ffn_up_exps.bias"));
        vectors(m, n, count, 0, 0.05f, IN_LAYER("ffn_down_exps.bias"));
    }
}

static void layer_feed_forward(struct maker *m, uint32_t l, float residual)
{
    const struct synthetic_options *o = m->o;
    uint64_t n = o->embedding, ff = o->feed_forward;
    float in = 1 / sqrtf((float)n);
    if (o->experts) {
        layer_experts(m, l, residual);
        return;
    }
    bool plain = is(o, "gpt2") || is(o, "bert");
    if (!plain && !is(o, "phi3")) {
        matrix(m, n, ff, in, IN_LAYER("ffn_gate.weight"));
    }
    matrix(m, n, is(o, "phi3") ? 2 * ff : ff, in, IN_LAYER("ffn_up.weight"));
    matrix(m, ff, n, 2 * residual / sqrtf((float)ff), IN_LAYER("ffn_down.weight"));
    if (o->biases) {
        vector(m, ff, 0, 0.1f, IN_LAYER("ffn_gate.bias"));
    }
    if (o->biases || plain) {
        vector(m, ff, 0, 0.1f, IN_LAYER("ffn_up.bias"));
        vector(m, n, 0, 0.05f, IN_LAYER("ffn_down.bias"));
    }
}

static void layer(struct maker *m, uint32_t l, float residual)
{
    const struct synthetic_options *o = m->o;
    char weight[64], bias[64];
#define NORM(name, biased)                                                                         \
    (snprintf(weight, sizeof weight, "blk.%u.%s.weight", l, name),                                 \
     snprintf(bias, sizeof bias, "blk.%u.%s.bias", l, name),                                       \
     norm(m, weight, (biased) ? bias : NULL))
    bool layer_norms = is(o, "gpt2") || is(o, "bert");
    if (!is(o, "bert")) {
        NORM("attn_norm", layer_norms);
    }
    layer_attention(m, l, residual);
    if (is(o, "bert")) {
        NORM("attn_output_norm", true);
    } else if (is(o, "gpt-oss")) {
        NORM("post_attention_norm", false);
    } else {
        NORM("ffn_norm", layer_norms);
    }
    if (is(o, "gemma2") || is(o, "gemma3")) { // sizes of the branches, against embeddings of 3
        vector(m, o->embedding, 6, 0.5f, IN_LAYER("post_attention_norm.weight"));
        vector(m, o->embedding, 6, 0.5f, IN_LAYER("post_ffw_norm.weight"));
    }
    layer_feed_forward(m, l, residual);
    if (is(o, "bert")) {
        NORM("layer_output_norm", true);
    }
}

static void tensors(struct maker *m)
{
    const struct synthetic_options *o = m->o;
    uint64_t n = o->embedding;
    float embedding = o->tied ? 3 / sqrtf((float)n) : 0.5f;
    float residual = embedding * (o->tied ? 20 : 3) / sqrtf(2 * (float)o->layers);
    if (o->experts) { // the router's choice should hang on the token, not on rounding before it
        residual = 0.6f * embedding / sqrtf(2 * (float)o->layers);
    }
    matrix(m, n, o->vocabulary, embedding, "token_embd.weight");
    if (is(o, "gpt2") || is(o, "bert")) {
        matrices(m, TN_F32, n, o->context, 1, embedding, "position_embd.weight");
    }
    if (is(o, "bert")) {
        vectors(m, n, 2, 0, 0.1f, "token_types.weight");
        norm(m, "token_embd_norm.weight", "token_embd_norm.bias");
    }
    if (o->rope_freqs) {
        factors(m, 8, "rope_freqs.weight");
    }
    if (o->rope_scaling && strcmp(o->rope_scaling, "longrope") == 0) {
        factors(m, 8, "rope_factors_long.weight");
        factors(m, 1.1f, "rope_factors_short.weight");
    }
    for (uint32_t l = 0; l < o->layers; l++) {
        layer(m, l, residual);
    }
    if (!is(o, "bert")) {
        norm(m, "output_norm.weight", is(o, "gpt2") ? "output_norm.bias" : NULL);
    }
    if (!o->tied && !is(o, "bert")) {
        matrix(m, n, o->vocabulary, 3 / sqrtf((float)n), "output.weight");
    }
}

// ---- keys --------------------------------------------------------------------------------------

static const char *own_key(const struct maker *m, const char *key)
{
    static _Thread_local char name[96];
    snprintf(name, sizeof name, "%s.%s", m->o->architecture, key);
    return name;
}

static void rope_keys(struct maker *m)
{
    const struct synthetic_options *o = m->o;
    tn_gguf_put_u32(m->writer, own_key(m, "rope.dimension_count"), o->head_dim);
    tn_gguf_put_f32(m->writer, own_key(m, "rope.freq_base"), o->rope_base);
    if (o->rope_scaling) {
        tn_gguf_put_string(m->writer, own_key(m, "rope.scaling.type"), o->rope_scaling);
        if (strcmp(o->rope_scaling, "longrope") != 0) {
            tn_gguf_put_f32(m->writer, own_key(m, "rope.scaling.factor"), o->rope_factor);
        }
    }
    if (o->rope_context) {
        tn_gguf_put_u32(m->writer, own_key(m, "rope.scaling.original_context_length"),
                        o->rope_context);
    }
    if (o->rope_attention_factor < 1 || o->rope_attention_factor > 1) {
        tn_gguf_put_f32(m->writer, own_key(m, "rope.scaling.attn_factor"),
                        o->rope_attention_factor);
    }
}

static void kv_heads_key(struct maker *m)
{
    int32_t list[64];
    uint32_t count = m->o->layers < 64 ? m->o->layers : 64;
    for (uint32_t l = 0; l < count; l++) {
        list[l] = (int32_t)m->o->kv_heads;
    }
    list[count - 1] += m->o->listed_differ;
    if (m->o->listed) {
        tn_gguf_put_i32s(m->writer, own_key(m, "attention.head_count_kv"), list, count);
    } else {
        tn_gguf_put_u32(m->writer, own_key(m, "attention.head_count_kv"), m->o->kv_heads);
    }
}

static void architecture_keys(struct maker *m)
{
    const struct synthetic_options *o = m->o;
    struct tn_gguf_writer *w = m->writer;
    bool layer_norms = is(o, "gpt2") || is(o, "bert");
    tn_gguf_put_string(w, "general.architecture", o->architecture);
    tn_gguf_put_string(w, "general.name", "synthetic");
    tn_gguf_put_u32(w, own_key(m, "context_length"), o->context);
    tn_gguf_put_u32(w, own_key(m, "embedding_length"), o->embedding);
    tn_gguf_put_u32(w, own_key(m, "block_count"), o->layers);
    tn_gguf_put_u32(w, own_key(m, "feed_forward_length"), o->feed_forward);
    tn_gguf_put_u32(w, own_key(m, "attention.head_count"), o->heads);
    if (layer_norms) {
        tn_gguf_put_f32(w, own_key(m, "attention.layer_norm_epsilon"), 1e-5f);
    } else {
        kv_heads_key(m);
        tn_gguf_put_f32(w, own_key(m, "attention.layer_norm_rms_epsilon"), 1e-5f);
        rope_keys(m);
    }
    if (o->head_dim * o->heads != o->embedding) {
        tn_gguf_put_u32(w, own_key(m, "attention.key_length"), o->head_dim);
        tn_gguf_put_u32(w, own_key(m, "attention.value_length"), o->head_dim);
    }
    if (is(o, "gemma2") || is(o, "gemma3") || is(o, "gpt-oss")) {
        tn_gguf_put_u32(w, own_key(m, "attention.sliding_window"), o->window);
    }
    if (is(o, "gemma2")) {
        tn_gguf_put_f32(w, own_key(m, "attn_logit_softcapping"), 50);
        tn_gguf_put_f32(w, own_key(m, "final_logit_softcapping"), 30);
    }
    if (o->experts) {
        tn_gguf_put_u32(w, own_key(m, "expert_count"), o->experts);
        tn_gguf_put_u32(w, own_key(m, "expert_used_count"), o->experts_used);
        if (!is(o, "llama")) {
            tn_gguf_put_u32(w, own_key(m, "expert_feed_forward_length"), o->expert_feed_forward);
        }
    }
    if (is(o, "bert")) {
        tn_gguf_put_u32(w, own_key(m, "pooling_type"), o->pooling);
        tn_gguf_put_bool(w, own_key(m, "attention.causal"), false);
        tn_gguf_put_u32(w, "tokenizer.ggml.token_type_count", 2);
    }
}

// ---- the file ----------------------------------------------------------------------------------

enum { DATA_ALIGN = 32, BLOCK_ALIGN = 64 };

static size_t aligned(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static void *assemble(struct maker *m, size_t *bytes)
{
    void *head = NULL;
    size_t head_bytes = 0;
    if (m->failed || tn_gguf_head(m->writer, &head, &head_bytes) != 0) {
        return NULL;
    }
    size_t total = head_bytes;
    for (size_t i = 0; i < m->block_count; i++) {
        total = aligned(total, DATA_ALIGN) + m->block_bytes[i];
    }
    uint8_t *file = aligned_alloc(BLOCK_ALIGN, aligned(total, BLOCK_ALIGN));
    if (file) {
        memset(file, 0, aligned(total, BLOCK_ALIGN));
        memcpy(file, head, head_bytes);
        size_t at = head_bytes;
        for (size_t i = 0; i < m->block_count; i++) {
            at = aligned(at, DATA_ALIGN);
            memcpy(file + at, m->block[i], m->block_bytes[i]);
            at += m->block_bytes[i];
        }
        *bytes = aligned(total, DATA_ALIGN);
    }
    free(head);
    return file;
}

void *synthetic_model(const struct synthetic_options *o, size_t *bytes)
{
    struct maker m = {.o = o, .writer = tn_gguf_writer_new()};
    if (!m.writer || o->vocabulary < SYNTHETIC_LEAST_VOCABULARY) {
        fprintf(stderr, "a vocabulary of %u is too small, or there is no memory\n", o->vocabulary);
        tn_gguf_writer_free(m.writer);
        return NULL;
    }
    tn_gguf_set_alignment(m.writer, DATA_ALIGN);
    architecture_keys(&m);
    m.failed = !synthetic_vocabulary(m.writer, o);
    tensors(&m);
    void *file = assemble(&m, bytes);
    for (size_t i = 0; i < m.block_count; i++) {
        free(m.block[i]);
    }
    free(m.block);
    free(m.block_bytes);
    tn_gguf_writer_free(m.writer);
    return file;
}
