// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: builds GGUF files in memory, value by value, so that a test can also build wrong ones.
#ifndef TENSOR_FORMAT_TEST_GGUF_H
#define TENSOR_FORMAT_TEST_GGUF_H

#include "tensor/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct maker {
    uint8_t *data;
    size_t bytes, room;
};

static inline void make_bytes(struct maker *m, const void *p, size_t n)
{
    if (m->bytes + n > m->room) {
        m->room = (m->bytes + n) * 2 + 1024;
        m->data = realloc(m->data, m->room);
        if (!m->data)
            abort();
    }
    if (n)
        memcpy(m->data + m->bytes, p, n);
    m->bytes += n;
}
static inline void make_u32(struct maker *m, uint32_t v)
{
    make_bytes(m, &v, 4);
}
static inline void make_u64(struct maker *m, uint64_t v)
{
    make_bytes(m, &v, 8);
}
static inline void make_f32(struct maker *m, float v)
{
    make_bytes(m, &v, 4);
}
static inline void make_string(struct maker *m, const char *s)
{
    make_u64(m, strlen(s));
    make_bytes(m, s, strlen(s));
}
static inline void make_header(struct maker *m, uint32_t version, uint64_t tensors, uint64_t keys)
{
    *m = (struct maker){0};
    make_bytes(m, "GGUF", 4);
    make_u32(m, version);
    make_u64(m, tensors);
    make_u64(m, keys);
}
static inline void make_key(struct maker *m, const char *key, uint32_t type)
{
    make_string(m, key);
    make_u32(m, type);
}
static inline void make_key_u32(struct maker *m, const char *key, uint32_t v)
{
    make_key(m, key, GGUF_U32);
    make_u32(m, v);
}
static inline void make_key_f32(struct maker *m, const char *key, float v)
{
    make_key(m, key, GGUF_F32);
    make_f32(m, v);
}
static inline void make_key_bool(struct maker *m, const char *key, bool v)
{
    uint8_t byte = v;
    make_key(m, key, GGUF_BOOL);
    make_bytes(m, &byte, 1);
}
static inline void make_key_string(struct maker *m, const char *key, const char *v)
{
    make_key(m, key, GGUF_STRING);
    make_string(m, v);
}
static inline void make_key_array(struct maker *m, const char *key, uint32_t type, uint64_t count)
{
    make_key(m, key, GGUF_ARRAY);
    make_u32(m, type);
    make_u64(m, count);
}
static inline void make_tensor(struct maker *m, const char *name, uint32_t dims,
                               const uint64_t *shape, uint32_t type, uint64_t offset)
{
    make_string(m, name);
    make_u32(m, dims);
    for (uint32_t d = 0; d < dims; d++)
        make_u64(m, shape[d]);
    make_u32(m, type);
    make_u64(m, offset);
}
static inline void make_align(struct maker *m, size_t to)
{
    static const uint8_t zero[64];
    make_bytes(m, zero, (to - m->bytes % to) % to);
}

// A copy that ends exactly at the block's end, so that the sanitizer sees any read past it.
static inline uint8_t *make_exact(const struct maker *m, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy)
        abort();
    memcpy(copy, m->data, bytes);
    return copy;
}

// ---- vocabularies ------------------------------------------------------------------------------
struct test_token {
    const char *text;
    float score;
    uint32_t type; // 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte
};
// Three keys: tokens, scores, token_type.
static inline void make_tokens(struct maker *m, const struct test_token *t, size_t n)
{
    make_key_array(m, "tokenizer.ggml.tokens", GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        make_string(m, t[i].text);
    make_key_array(m, "tokenizer.ggml.scores", GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        make_f32(m, t[i].score);
    make_key_array(m, "tokenizer.ggml.token_type", GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        make_u32(m, t[i].type);
}

// ---- a whole small model
// ------------------------------------------------------------------------- llama architecture,
// width 32, one layer, random weights; SPM vocabulary of 512: three specials, 256 bytes, the ChatML
// marks, the space mark, printable ASCII, and pairs of letters with falling scores.
enum { TEST_MODEL_VOCABULARY = 512, TEST_MODEL_CONTEXT = 128 };

static inline void test_model_tokens(struct test_token *t, char (*store)[16])
{
    static const char letters[] = " etaoinshrdlucmfgypwbvkxjqz";
    size_t n = 0;
    t[n++] = (struct test_token){"<unk>", 0, 2};
    t[n++] = (struct test_token){"<s>", 0, 3};
    t[n++] = (struct test_token){"</s>", 0, 3};
    for (int b = 0; b < 256; b++, n++) {
        snprintf(store[n], 16, "<0x%02X>", b);
        t[n] = (struct test_token){store[n], 0, 6};
    }
    t[n++] = (struct test_token){"<|im_start|>", 0, 3};
    t[n++] = (struct test_token){"<|im_end|>", 0, 3};
    t[n++] = (struct test_token){"\xe2\x96\x81", -1000, 1};
    for (int c = '!'; c <= '~'; c++, n++) {
        snprintf(store[n], 16, "%c", c);
        t[n] = (struct test_token){store[n], -1000, 1};
    }
    for (int i = 0; n < TEST_MODEL_VOCABULARY; i++, n++) {
        char a = letters[i / 26 % 27], b = letters[1 + i % 26];
        if (a == ' ')
            snprintf(store[n], 16, "\xe2\x96\x81%c", b);
        else
            snprintf(store[n], 16, "%c%c", a, b);
        t[n] = (struct test_token){store[n], (float)-i, 1};
    }
}

static inline void test_model(struct maker *m, const char *template)
{
    static const struct {
        const char *name;
        uint64_t shape[2];
    } tensors[] = {{"token_embd.weight", {32, 512}},   {"output_norm.weight", {32, 0}},
                   {"output.weight", {32, 512}},       {"blk.0.attn_norm.weight", {32, 0}},
                   {"blk.0.attn_q.weight", {32, 32}},  {"blk.0.attn_k.weight", {32, 16}},
                   {"blk.0.attn_v.weight", {32, 16}},  {"blk.0.attn_output.weight", {32, 32}},
                   {"blk.0.ffn_norm.weight", {32, 0}}, {"blk.0.ffn_gate.weight", {32, 64}},
                   {"blk.0.ffn_up.weight", {32, 64}},  {"blk.0.ffn_down.weight", {64, 32}}};
    enum { COUNT = sizeof tensors / sizeof *tensors };
    struct test_token tokens[TEST_MODEL_VOCABULARY];
    char store[TEST_MODEL_VOCABULARY][16];
    make_header(m, 3, COUNT, 13 + (template != NULL));
    make_key_string(m, "general.architecture", "llama");
    make_key_string(m, "general.name", "test \"model\"");
    make_key_u32(m, "llama.context_length", TEST_MODEL_CONTEXT);
    make_key_u32(m, "llama.embedding_length", 32);
    make_key_u32(m, "llama.block_count", 1);
    make_key_u32(m, "llama.feed_forward_length", 64);
    make_key_u32(m, "llama.attention.head_count", 4);
    make_key_u32(m, "llama.attention.head_count_kv", 2);
    make_key_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    make_key_string(m, "tokenizer.ggml.model", "llama");
    test_model_tokens(tokens, store);
    make_tokens(m, tokens, TEST_MODEL_VOCABULARY);
    if (template)
        make_key_string(m, "tokenizer.chat_template", template);
    uint64_t offset = 0, total = 0;
    for (int i = 0; i < COUNT; i++) {
        uint32_t dims = tensors[i].shape[1] ? 2 : 1;
        uint64_t values = tensors[i].shape[0] * (dims == 2 ? tensors[i].shape[1] : 1);
        make_tensor(m, tensors[i].name, dims, tensors[i].shape, TN_F32, offset);
        offset += values * 4;
        total += values;
    }
    make_align(m, 32);
    uint32_t random = 12345;
    for (uint64_t i = 0; i < total; i++) {
        random = random * 1664525u + 1013904223u;
        make_f32(m, ((float)(random >> 8) / 16777216.f - 0.5f) * 0.8f);
    }
}

#endif
