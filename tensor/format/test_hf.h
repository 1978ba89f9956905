// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: tiny models as Hugging Face keeps them (config.json, tokenizer.json, safetensors) with
// seeded weights, and the same model as a GGUF file, its tensors rearranged as GGUF wants them.
#ifndef TENSOR_FORMAT_TEST_HF_H
#define TENSOR_FORMAT_TEST_HF_H

#include "tensor/format/test_gguf.h"
#include "tensor/gguf_write.h"
#include "tensor/half.h"
#include "tensor/safetensors.h"

#include <math.h>

enum { HF_WIDTH = 64, HF_LAYERS = 2, HF_HEADS = 4, HF_KV = 2, HF_HEAD = 16, HF_FF = 96 };
enum { HF_CONTEXT = 64, HF_TENSORS = 64 };

struct hf_tensor {
    char theirs[96], ours[64];
    uint32_t dims;
    uint64_t rows, columns; // as stored there; a vector has columns only
    uint32_t type;
    uint8_t *data;
    float *values;
    uint32_t heads;  // rows of this many heads keep rotary halves apart; 0: not rotated so
    bool transposed; // stored [in][out]
};

struct hf_files {
    const char *architecture, *ours; // LlamaForCausalLM, llama
    uint32_t vocabulary;
    struct hf_tensor tensor[HF_TENSORS];
    size_t count;
    struct maker config, tokenizer, settings, weights;
    uint32_t seed;
};

static inline void hf_text(struct maker *m, const char *text)
{
    make_bytes(m, text, strlen(text));
}

static inline struct hf_tensor *hf_add(struct hf_files *f, const char *theirs, const char *ours,
                                       uint32_t type, uint64_t rows, uint64_t columns, float center,
                                       float spread)
{
    struct hf_tensor *t = &f->tensor[f->count++];
    snprintf(t->theirs, sizeof t->theirs, "%s", theirs);
    snprintf(t->ours, sizeof t->ours, "%s", ours);
    t->dims = rows ? 2 : 1;
    t->rows = rows ? rows : 1;
    t->columns = columns;
    t->type = type;
    size_t n = (size_t)(t->rows * columns), each = type == TN_F32 ? 4 : 2;
    t->data = malloc(n * each);
    t->values = malloc(n * sizeof *t->values);
    for (size_t i = 0; i < n; i++) {
        f->seed = f->seed * 1664525u + 1013904223u;
        float v = center + spread * (float)(int32_t)f->seed * 0x1p-31f;
        uint16_t h = type == TN_F16 ? tn_f32_to_f16(v) : tn_f32_to_bf16(v);
        if (type == TN_F32)
            memcpy(t->data + 4 * i, &v, 4);
        else
            memcpy(t->data + 2 * i, &h, 2);
        t->values[i] = type == TN_F32 ? v : type == TN_F16 ? tn_f16_to_f32(h) : tn_bf16_to_f32(h);
    }
    return t;
}

// ---- tensors ------------------------------------------------------------------------------------

static inline void hf_llama_layer(struct hf_files *f, uint32_t l, uint32_t type, bool biases)
{
    static const struct {
        const char *theirs, *ours;
        uint32_t rows, columns, heads;
    } list[] = {{"self_attn.q_proj", "attn_q", HF_HEADS * HF_HEAD, HF_WIDTH, HF_HEADS},
                {"self_attn.k_proj", "attn_k", HF_KV * HF_HEAD, HF_WIDTH, HF_KV},
                {"self_attn.v_proj", "attn_v", HF_KV * HF_HEAD, HF_WIDTH, 0},
                {"self_attn.o_proj", "attn_output", HF_WIDTH, HF_HEADS * HF_HEAD, 0},
                {"mlp.gate_proj", "ffn_gate", HF_FF, HF_WIDTH, 0},
                {"mlp.up_proj", "ffn_up", HF_FF, HF_WIDTH, 0},
                {"mlp.down_proj", "ffn_down", HF_WIDTH, HF_FF, 0}};
    char a[96], b[64];
    bool llama = strcmp(f->ours, "llama") == 0;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        snprintf(a, sizeof a, "model.layers.%u.%s.weight", l, list[i].theirs);
        snprintf(b, sizeof b, "blk.%u.%s.weight", l, list[i].ours);
        struct hf_tensor *t = hf_add(f, a, b, type, list[i].rows, list[i].columns, 0, 0.25f);
        t->heads = llama ? list[i].heads : 0;
        if (biases && i < 3) {
            snprintf(a, sizeof a, "model.layers.%u.%s.bias", l, list[i].theirs);
            snprintf(b, sizeof b, "blk.%u.%s.bias", l, list[i].ours);
            t = hf_add(f, a, b, type, 0, list[i].rows, 0, 0.3f);
            t->heads = llama ? list[i].heads : 0;
        }
    }
    snprintf(a, sizeof a, "model.layers.%u.input_layernorm.weight", l);
    snprintf(b, sizeof b, "blk.%u.attn_norm.weight", l);
    hf_add(f, a, b, type, 0, HF_WIDTH, 1, 0.3f);
    snprintf(a, sizeof a, "model.layers.%u.post_attention_layernorm.weight", l);
    snprintf(b, sizeof b, "blk.%u.ffn_norm.weight", l);
    hf_add(f, a, b, type, 0, HF_WIDTH, 1, 0.3f);
    if (strcmp(f->ours, "qwen3") == 0) {
        snprintf(a, sizeof a, "model.layers.%u.self_attn.q_norm.weight", l);
        snprintf(b, sizeof b, "blk.%u.attn_q_norm.weight", l);
        hf_add(f, a, b, type, 0, HF_HEAD, 1, 0.3f);
        snprintf(a, sizeof a, "model.layers.%u.self_attn.k_norm.weight", l);
        snprintf(b, sizeof b, "blk.%u.attn_k_norm.weight", l);
        hf_add(f, a, b, type, 0, HF_HEAD, 1, 0.3f);
    }
}

static inline void hf_gpt2_layer(struct hf_files *f, uint32_t l, uint32_t type)
{
    static const struct {
        const char *theirs, *ours;
        uint32_t in, out; // in 0: a norm
    } list[] = {{"ln_1", "attn_norm", 0, HF_WIDTH},
                {"attn.c_attn", "attn_qkv", HF_WIDTH, 3 * HF_WIDTH},
                {"attn.c_proj", "attn_output", HF_WIDTH, HF_WIDTH},
                {"ln_2", "ffn_norm", 0, HF_WIDTH},
                {"mlp.c_fc", "ffn_up", HF_WIDTH, 4 * HF_WIDTH},
                {"mlp.c_proj", "ffn_down", 4 * HF_WIDTH, HF_WIDTH}};
    char a[96], b[64];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        snprintf(a, sizeof a, "transformer.h.%u.%s.weight", l, list[i].theirs);
        snprintf(b, sizeof b, "blk.%u.%s.weight", l, list[i].ours);
        bool norm = list[i].in == 0;
        hf_add(f, a, b, type, list[i].in, list[i].out, norm ? 1 : 0, 0.25f)->transposed = !norm;
        snprintf(a, sizeof a, "transformer.h.%u.%s.bias", l, list[i].theirs);
        snprintf(b, sizeof b, "blk.%u.%s.bias", l, list[i].ours);
        hf_add(f, a, b, type, 0, list[i].out, 0, 0.2f);
    }
}

static inline void hf_make_tensors(struct hf_files *f, uint32_t type)
{
    bool gpt2 = strcmp(f->ours, "gpt2") == 0;
    hf_add(f, gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight", "token_embd.weight",
           type, f->vocabulary, HF_WIDTH, 0, 1);
    if (gpt2)
        hf_add(f, "transformer.wpe.weight", "position_embd.weight", type, HF_CONTEXT, HF_WIDTH, 0,
               0.3f);
    for (uint32_t l = 0; l < HF_LAYERS; l++) {
        if (gpt2)
            hf_gpt2_layer(f, l, type);
        else
            hf_llama_layer(f, l, type, strcmp(f->ours, "qwen2") == 0);
    }
    hf_add(f, gpt2 ? "transformer.ln_f.weight" : "model.norm.weight", "output_norm.weight", type, 0,
           HF_WIDTH, 1, 0.3f);
    if (gpt2)
        hf_add(f, "transformer.ln_f.bias", "output_norm.bias", type, 0, HF_WIDTH, 0, 0.3f);
    else
        hf_add(f, "lm_head.weight", "output.weight", type, f->vocabulary, HF_WIDTH, 0, 0.5f);
}

// Tensors [from, to) as one safetensors file.
static inline void hf_weights(const struct hf_files *f, size_t from, size_t to, struct maker *out)
{
    static const char *const names[] = {[TN_F32] = "F32", [TN_F16] = "F16", [TN_BF16] = "BF16"};
    struct maker json = {0};
    char text[256];
    size_t at = 0;
    hf_text(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = from; i < to; i++) {
        const struct hf_tensor *t = &f->tensor[i];
        size_t bytes = (size_t)(t->rows * t->columns) * (t->type == TN_F32 ? 4 : 2);
        char shape[48];
        if (t->dims == 2)
            snprintf(shape, sizeof shape, "[%llu,%llu]", (unsigned long long)t->rows,
                     (unsigned long long)t->columns);
        else
            snprintf(shape, sizeof shape, "[%llu]", (unsigned long long)t->columns);
        snprintf(text, sizeof text,
                 ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", t->theirs,
                 names[t->type], shape, at, at + bytes);
        hf_text(&json, text);
        at += bytes;
    }
    hf_text(&json, "}");
    while (json.bytes % 8)
        hf_text(&json, " ");
    make_u64(out, json.bytes);
    make_bytes(out, json.data, json.bytes);
    for (size_t i = from; i < to; i++) {
        const struct hf_tensor *t = &f->tensor[i];
        make_bytes(out, t->data, (size_t)(t->rows * t->columns) * (t->type == TN_F32 ? 4 : 2));
    }
    free(json.data);
}

// ---- JSON ---------------------------------------------------------------------------------------

static inline void hf_config_json(struct hf_files *f, const char *more)
{
    char text[1024];
    if (strcmp(f->ours, "gpt2") == 0)
        snprintf(text, sizeof text,
                 "{\"architectures\":[\"%s\"],\"model_type\":\"gpt2\",\"n_positions\":%d,"
                 "\"n_embd\":%d,\"n_layer\":%d,\"n_head\":%d,\"activation_function\":\"gelu_new\","
                 "\"layer_norm_epsilon\":1e-5,\"vocab_size\":%u,\"eos_token_id\":256%s}",
                 f->architecture, HF_CONTEXT, HF_WIDTH, HF_LAYERS, HF_HEADS, f->vocabulary, more);
    else
        snprintf(text, sizeof text,
                 "{\"architectures\":[\"%s\"],\"_name_or_path\":\"tests/tiny\","
                 "\"max_position_embeddings\":%d,\"hidden_size\":%d,\"num_hidden_layers\":%d,"
                 "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,"
                 "\"intermediate_size\":%d,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-5,"
                 "\"rope_theta\":20000.0,\"tie_word_embeddings\":false,\"vocab_size\":%u,"
                 "\"rope_scaling\":null,\"bos_token_id\":1,\"eos_token_id\":[2,1]%s}",
                 f->architecture, HF_CONTEXT, HF_WIDTH, HF_LAYERS, HF_HEADS, HF_KV, HF_HEAD, HF_FF,
                 f->vocabulary, more);
    hf_text(&f->config, text);
}

// The character that stands for a byte in byte-level BPE.
static inline void hf_byte_character(unsigned byte, char *out)
{
    static const struct {
        unsigned from, to;
    } own[] = {{'!', '~'}, {0xa1, 0xac}, {0xae, 0xff}};
    unsigned c = byte, moved = 256;
    bool is_own = false;
    for (unsigned b = 0; b <= byte; b++) {
        is_own = false;
        for (int i = 0; i < 3; i++)
            is_own = is_own || (b >= own[i].from && b <= own[i].to);
        c = is_own ? b : moved++;
    }
    if (c < 0x80)
        snprintf(out, 4, "%s%c", c == '"' || c == '\\' ? "\\" : "", c);
    else
        snprintf(out, 4, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 63)));
}

// 256 bytes, <|endoftext|>, and a few merges.
static inline void hf_byte_level_json(struct hf_files *f, const char *pre, bool pairs_as_lists)
{
    static const char *const merges[][2] = {{"h", "e"},    {"l", "l"},      {"he", "ll"},
                                            {"hell", "o"}, {"\u0120", "w"}, {"o", "r"}};
    char text[128], c[8];
    struct maker *m = &f->tokenizer;
    hf_text(m, "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":256,\"content\":\"<|endoftext|>\","
               "\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":");
    hf_text(m, pre);
    hf_text(m, ",\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned b = 0; b < 256; b++) {
        hf_byte_character(b, c);
        snprintf(text, sizeof text, "%s\"%s\":%u", b ? "," : "", c, b);
        hf_text(m, text);
    }
    hf_text(m, ",\"<|endoftext|>\":256");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(text, sizeof text, ",\"%s%s\":%u", merges[i][0], merges[i][1], 257 + i);
        hf_text(m, text);
    }
    hf_text(m, "},\"merges\":[");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(text, sizeof text, pairs_as_lists ? "%s[\"%s\",\"%s\"]" : "%s\"%s %s\"",
                 i ? "," : "", merges[i][0], merges[i][1]);
        hf_text(m, text);
    }
    hf_text(m, "]}}");
}

// <unk>, <s>, </s>, 256 bytes, a few characters, and merges.
static inline void hf_sentencepiece_json(struct hf_files *f)
{
    static const char *const single[] = {"\u2581", "e", "h", "l", "o", "r", "w", "d"};
    static const char *const merges[][2] = {{"l", "l"}, {"\u2581", "h"},    {"\u2581h", "e"},
                                            {"o", "r"}, {"\u2581he", "ll"}, {"e", "l"}};
    char text[128];
    struct maker *m = &f->tokenizer;
    hf_text(m,
            "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},"
            "{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\","
            "\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
            "\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":"
            "\" \"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\""
            ":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence"
            "\":{\"id\":\"A\"}}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\","
            "\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2");
    for (unsigned b = 0; b < 256; b++) {
        snprintf(text, sizeof text, ",\"<0x%02X>\":%u", b, b + 3);
        hf_text(m, text);
    }
    for (unsigned i = 0; i < 8; i++) {
        snprintf(text, sizeof text, ",\"%s\":%u", single[i], 259 + i);
        hf_text(m, text);
    }
    for (unsigned i = 0; i < 6; i++) {
        snprintf(text, sizeof text, ",\"%s%s\":%u", merges[i][0], merges[i][1], 267 + i);
        hf_text(m, text);
    }
    hf_text(m, "},\"merges\":[");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "%s\"%s %s\"", i ? "," : "", merges[i][0], merges[i][1]);
        hf_text(m, text);
    }
    hf_text(m, "]}}");
}

static const char hf_gpt2_pre[] =
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}";
static const char hf_qwen2_pre[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s"
    "\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":"
    "\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"use_regex\":false}]}";

// A whole model of one of the architectures. `more` goes into config.json (",\"key\":value").
static inline void hf_make(struct hf_files *f, const char *ours, uint32_t type, const char *more)
{
    bool llama = strcmp(ours, "llama") == 0, gpt2 = strcmp(ours, "gpt2") == 0;
    *f = (struct hf_files){.ours = ours, .seed = 4711};
    f->architecture = llama                        ? "LlamaForCausalLM"
                      : gpt2                       ? "GPT2LMHeadModel"
                      : strcmp(ours, "qwen3") == 0 ? "Qwen3ForCausalLM"
                                                   : "Qwen2ForCausalLM";
    f->vocabulary = llama ? 280 : 270;
    hf_make_tensors(f, type);
    hf_config_json(f, more);
    if (llama)
        hf_sentencepiece_json(f);
    else
        hf_byte_level_json(f, gpt2 ? hf_gpt2_pre : hf_qwen2_pre, !gpt2);
    hf_weights(f, 0, f->count, &f->weights);
}

static inline struct safetensors_source hf_source(const char *name, const struct maker *m)
{
    return (struct safetensors_source){name, m->data, m->bytes};
}

static inline void hf_free(struct hf_files *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->tensor[i].data);
        free(f->tensor[i].values);
    }
    free(f->config.data);
    free(f->tokenizer.data);
    free(f->settings.data);
    free(f->weights.data);
}

// ---- as GGUF ------------------------------------------------------------------------------------

// Value (row, column) of the tensor as GGUF has it.
static inline float hf_value(const struct hf_tensor *t, uint64_t row, uint64_t column)
{
    if (t->transposed)
        return t->values[column * t->columns + row];
    uint64_t r = t->dims == 2 ? row : column, half = 0, head = 0;
    if (t->heads) { // neighbours (2i, 2i+1) come from the two halves
        half = (t->dims == 2 ? t->rows : t->columns) / t->heads / 2;
        head = r / (2 * half) * 2 * half;
        r = head + r % 2 * half + r % (2 * half) / 2;
    }
    return t->dims == 2 ? t->values[r * t->columns + column] : t->values[r];
}

// Tensors in their own type (vectors F32), tokenizer keys as `index` has them.
static inline void hf_as_gguf(const struct hf_files *f, const struct gguf *index, struct maker *out)
{
    struct tn_gguf_writer *w = tn_gguf_writer_new();
    uint8_t *store[HF_TENSORS];
    char key[96];
    bool gpt2 = strcmp(f->ours, "gpt2") == 0;
    tn_gguf_put_string(w, "general.architecture", f->ours);
#define PUT(kind, name, value)                                                                     \
    (snprintf(key, sizeof key, "%s." name, f->ours), tn_gguf_put_##kind(w, key, value))
    PUT(u32, "context_length", HF_CONTEXT);
    PUT(u32, "embedding_length", HF_WIDTH);
    PUT(u32, "block_count", HF_LAYERS);
    PUT(u32, "feed_forward_length", gpt2 ? 4 * HF_WIDTH : HF_FF);
    PUT(u32, "attention.head_count", HF_HEADS);
    if (gpt2) {
        PUT(f32, "attention.layer_norm_epsilon", 1e-5f);
    } else {
        PUT(u32, "attention.head_count_kv", HF_KV);
        PUT(u32, "attention.key_length", HF_HEAD);
        PUT(u32, "attention.value_length", HF_HEAD);
        PUT(f32, "attention.layer_norm_rms_epsilon", 1e-5f);
        PUT(f32, "rope.freq_base", 20000);
    }
#undef PUT
    for (uint64_t i = 0; i < gguf_key_count(index); i++) {
        struct gguf_string name = gguf_key_at(index, i, NULL);
        if (name.bytes > 10 && memcmp(name.data, "tokenizer.", 10) == 0)
            tn_gguf_copy_key(w, index, i);
    }
    for (size_t i = 0; i < f->count; i++) {
        const struct hf_tensor *t = &f->tensor[i];
        uint64_t rows = t->transposed ? t->columns : t->rows;
        uint64_t columns = t->transposed ? t->rows : t->columns;
        uint32_t type = t->dims == 2 ? t->type : TN_F32;
        size_t each = type == TN_F32 ? 4 : 2, n = (size_t)(rows * columns);
        store[i] = malloc(n * each);
        for (size_t v = 0; v < n; v++) {
            float x = hf_value(t, v / columns, v % columns);
            uint16_t h = type == TN_F16 ? tn_f32_to_f16(x) : tn_f32_to_bf16(x);
            memcpy(store[i] + v * each, type == TN_F32 ? (void *)&x : (void *)&h, each);
        }
        tn_gguf_put_tensor(w, t->ours, type, (const uint64_t[]){columns, rows}, t->dims, store[i],
                           n * each);
    }
    void *head;
    size_t head_bytes;
    *out = (struct maker){0};
    if (tn_gguf_head(w, &head, &head_bytes))
        abort();
    make_bytes(out, head, head_bytes);
    for (size_t i = 0; i < f->count; i++) {
        const struct hf_tensor *t = &f->tensor[i];
        size_t each = t->dims == 1 || t->type == TN_F32 ? 4 : 2;
        make_bytes(out, store[i], (size_t)(t->rows * t->columns) * each);
        make_align(out, 32);
        free(store[i]);
    }
    free(head);
    tn_gguf_writer_free(w);
}

#endif
