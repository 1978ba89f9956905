// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a small llama GGUF with seeded random weights, made in memory, whole or with something
// wrong in it.
#ifndef TENSOR_TINY_MODEL_H
#define TENSOR_TINY_MODEL_H

#include "tensor/half.h"
#include "tensor/types.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct tiny_options {
    uint32_t type; // of the matrices
    uint32_t embedding, layers, heads, kv_heads, feed_forward, vocabulary, context;
    bool untied, biases, rope_freqs;
    uint32_t seed;
    // Damage: a tensor left out, one with a row too many, one of another type, another
    // architecture, a rope scaling type, experts.
    const char *missing, *misshapen, *wrong_type, *architecture, *rope_scaling;
    uint32_t experts;
};

static inline struct tiny_options tiny_default(uint32_t type)
{
    return (struct tiny_options){.type = type,
                                 .embedding = 64,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .feed_forward = 96,
                                 .vocabulary = 288,
                                 .context = 256,
                                 .seed = 1};
}

struct tiny_file {
    uint8_t *data;
    size_t bytes, space;
    uint64_t tensors;
    uint64_t offset;            // of the next tensor's data
    struct tiny_file *contents; // where tensor data is collected
};

static inline void tiny_put(struct tiny_file *f, const void *data, size_t bytes)
{
    if (f->bytes + bytes > f->space) {
        f->space = (f->bytes + bytes) * 2;
        f->data = realloc(f->data, f->space);
    }
    if (bytes) {
        memcpy(f->data + f->bytes, data, bytes);
    }
    f->bytes += bytes;
}
static inline void tiny_u32(struct tiny_file *f, uint32_t v)
{
    tiny_put(f, &v, 4);
}
static inline void tiny_u64(struct tiny_file *f, uint64_t v)
{
    tiny_put(f, &v, 8);
}
static inline void tiny_text(struct tiny_file *f, const char *s)
{
    tiny_u64(f, strlen(s));
    tiny_put(f, s, strlen(s));
}
static inline void tiny_key_u32(struct tiny_file *f, const char *key, uint32_t v)
{
    tiny_text(f, key);
    tiny_u32(f, 4);
    tiny_u32(f, v);
}
static inline void tiny_key_text(struct tiny_file *f, const char *key, const char *v)
{
    tiny_text(f, key);
    tiny_u32(f, 8);
    tiny_text(f, v);
}

static inline float tiny_random(uint32_t *state) // uniform in [-1, 1)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

static inline void tiny_row(struct tiny_file *f, uint32_t type, const float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += tn_type_info(type)->block_values) {
        float most = 0;
        for (uint64_t j = 0; j < tn_type_info(type)->block_values; j++) {
            most = fabsf(x[i + j]) > most ? fabsf(x[i + j]) : most;
        }
        uint8_t block[34];
        float d = type == TN_Q8_0 ? most / 127 : most / 7;
        uint16_t h = type == TN_F16    ? tn_f32_to_f16(x[i])
                     : type == TN_BF16 ? tn_f32_to_bf16(x[i])
                                       : tn_f32_to_f16(d);
        memcpy(block, &h, 2);
        for (int j = 0; type == TN_Q8_0 && j < 32; j++) {
            block[2 + j] = (uint8_t)(int8_t)lrintf(x[i + (uint64_t)j] / d);
        }
        for (int j = 0; type == TN_Q4_0 && j < 16; j++) {
            long lo = lrintf(x[i + (uint64_t)j] / d) + 8;
            long hi = lrintf(x[i + 16 + (uint64_t)j] / d) + 8;
            block[2 + j] = (uint8_t)(lo | hi << 4);
        }
        tiny_put(f, type == TN_F32 ? (const void *)(x + i) : block,
                 tn_type_info(type)->block_bytes);
    }
}

static inline void tiny_tensor(struct tiny_file *f, const struct tiny_options *o, const char *name,
                               uint32_t type, uint64_t columns, uint64_t rows, float center,
                               float spread)
{
    if (o->missing && strcmp(o->missing, name) == 0) {
        return;
    }
    rows += o->misshapen && strcmp(o->misshapen, name) == 0;
    type = o->wrong_type && strcmp(o->wrong_type, name) == 0 ? TN_F16 : type;
    uint32_t state = o->seed * 977u;
    for (const char *c = name; *c; c++) {
        state = state * 31u + (uint8_t)*c;
    }
    tiny_text(f, name);
    tiny_u32(f, rows > 1 ? 2 : 1);
    tiny_u64(f, columns);
    if (rows > 1) {
        tiny_u64(f, rows);
    }
    tiny_u32(f, type);
    tiny_u64(f, f->offset);
    float *x = malloc(columns * sizeof *x);
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t c = 0; c < columns; c++) {
            x[c] = center + spread * tiny_random(&state);
        }
        tiny_row(f->contents, type, x, columns);
    }
    free(x);
    static const uint8_t zeros[32];
    tiny_put(f->contents, zeros, -f->contents->bytes % 32);
    f->offset = f->contents->bytes;
    f->tensors++;
}

static inline void tiny_layer(struct tiny_file *f, const struct tiny_options *o, uint32_t l)
{
    static const char *const names[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_gate", "ffn_up", "ffn_down"};
    uint32_t n = o->embedding, ff = o->feed_forward, kv = n / o->heads * o->kv_heads;
    const uint32_t columns[] = {n, n, n, n, n, n, ff}, rows[] = {n, kv, kv, n, ff, ff, n};
    char name[64];
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", l, names[i]);
        tiny_tensor(f, o, name, o->type, columns[i], rows[i], 0, 2.0f / sqrtf((float)columns[i]));
        if (o->biases && i < 4) {
            snprintf(name, sizeof name, "blk.%u.%s.bias", l, names[i]);
            tiny_tensor(f, o, name, TN_F32, rows[i], 1, 0, 0.3f);
        }
    }
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", l);
    tiny_tensor(f, o, name, TN_F32, n, 1, 1, 0.3f);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", l);
    tiny_tensor(f, o, name, TN_F32, n, 1, 1, 0.3f);
}

static inline uint64_t tiny_keys(struct tiny_file *f, const struct tiny_options *o)
{
    tiny_key_text(f, "general.architecture", o->architecture ? o->architecture : "llama");
    tiny_key_u32(f, "llama.context_length", o->context);
    tiny_key_u32(f, "llama.embedding_length", o->embedding);
    tiny_key_u32(f, "llama.block_count", o->layers);
    tiny_key_u32(f, "llama.attention.head_count", o->heads);
    tiny_key_u32(f, "llama.attention.head_count_kv", o->kv_heads);
    tiny_key_u32(f, "llama.feed_forward_length", o->feed_forward);
    tiny_text(f, "llama.attention.layer_norm_rms_epsilon");
    tiny_u32(f, 6);
    float epsilon = 1e-5f;
    tiny_put(f, &epsilon, 4);
    uint64_t keys = 12; // with the tokenizer's
    if (o->rope_scaling) {
        tiny_key_text(f, "llama.rope.scaling.type", o->rope_scaling);
        keys++;
    }
    if (o->experts) {
        tiny_key_u32(f, "llama.expert_count", o->experts);
        keys++;
    }
    tiny_key_text(f, "tokenizer.ggml.model", "llama");
    tiny_text(f, "tokenizer.ggml.tokens");
    tiny_u32(f, 9);
    tiny_u32(f, 8);
    tiny_u64(f, o->vocabulary);
    for (uint32_t i = 0; i < o->vocabulary; i++) {
        static const char *const special[] = {"<unk>", "<s>", "</s>"};
        char text[16];
        snprintf(text, sizeof text, i < 259 ? "<0x%02X>" : "word%u", i < 259 ? i - 3 : i);
        tiny_text(f, i < 3 ? special[i] : text);
    }
    tiny_text(f, "tokenizer.ggml.scores");
    tiny_u32(f, 9);
    tiny_u32(f, 6);
    tiny_u64(f, o->vocabulary);
    for (uint32_t i = 0; i < o->vocabulary; i++) {
        float score = -(float)i;
        tiny_put(f, &score, 4);
    }
    tiny_text(f, "tokenizer.ggml.token_type");
    tiny_u32(f, 9);
    tiny_u32(f, 5);
    tiny_u64(f, o->vocabulary);
    for (uint32_t i = 0; i < o->vocabulary; i++) {
        tiny_u32(f, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    }
    return keys;
}

// The file's bytes, 64-byte aligned; the caller frees.
static inline void *tiny_gguf(const struct tiny_options *o, size_t *bytes)
{
    struct tiny_file contents = {0}, keys = {0}, infos = {.contents = &contents}, whole = {0};
    uint64_t key_count = tiny_keys(&keys, o);
    uint32_t n = o->embedding;
    tiny_tensor(&infos, o, "token_embd.weight", o->type, n, o->vocabulary, 0, 1);
    for (uint32_t l = 0; l < o->layers; l++) {
        tiny_layer(&infos, o, l);
    }
    tiny_tensor(&infos, o, "output_norm.weight", TN_F32, n, 1, 1, 0.3f);
    if (o->untied) {
        tiny_tensor(&infos, o, "output.weight", o->type, n, o->vocabulary, 0, 0.5f);
    }
    if (o->rope_freqs) {
        tiny_tensor(&infos, o, "rope_freqs.weight", TN_F32, n / o->heads / 2, 1, 2, 1);
    }
    tiny_put(&whole, "GGUF", 4);
    tiny_u32(&whole, 3);
    tiny_u64(&whole, infos.tensors);
    tiny_u64(&whole, key_count);
    tiny_put(&whole, keys.data, keys.bytes);
    tiny_put(&whole, infos.data, infos.bytes);
    static const uint8_t zeros[32];
    tiny_put(&whole, zeros, -whole.bytes % 32);
    tiny_put(&whole, contents.data, contents.bytes);
    void *block = aligned_alloc(64, (whole.bytes + 63) & ~(size_t)63);
    memcpy(block, whole.data, whole.bytes);
    *bytes = whole.bytes;
    free(contents.data);
    free(keys.data);
    free(infos.data);
    free(whole.data);
    return block;
}

#endif
