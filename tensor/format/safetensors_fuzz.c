// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as one of a Hugging Face model's files, the others sound: the first byte says which
// file of which architecture.
//
// Links: tensor/format/safetensors.c tensor/format/hf_config.c tensor/format/hf_pattern.c
// Links: tensor/format/hf_tensors.c tensor/format/hf_tokenizer.c tensor/format/gguf.c
// Links: tensor/format/gguf_values.c tensor/format/gguf_shards.c tensor/format/gguf_write.c
// Links: tensor/quant/types.c tensor/core/math.c
// Libs: -ljansson
#include "tensor/format/test_hf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { WEIGHTS, CONFIG, TOKENIZER, SETTINGS, INDEX, KINDS };

static volatile unsigned sum; // what was read must be used

static void open_model(const struct safetensors_model *m)
{
    struct gguf *g;
    char error[300] = "";
    if (safetensors_open(m, &g, error, sizeof error)) {
        if (!error[0])
            abort();
        return;
    }
    for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const uint8_t *p = t->data;
        if (t->bytes !=
            tn_row_bytes(t->type, t->shape[0]) * t->shape[1] * t->shape[2] * t->shape[3])
            abort();
        sum += (unsigned)(p[0] + p[t->bytes - 1]);
    }
    gguf_close(g);
}

static void open_index(const struct safetensors_source *json)
{
    char **names, error[300];
    size_t count;
    if (safetensors_index(json, &names, &count, error, sizeof error))
        return;
    for (size_t i = 0; i < count; i++) {
        if (strchr(names[i], '/'))
            abort();
        free(names[i]);
    }
    free(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct hf_files sound[4];
    static const char *const names[] = {"llama", "qwen2", "qwen3", "gpt2"};
    if (!bytes)
        return 0;
    unsigned kind = (*data & 127u) % KINDS;
    struct hf_files *f = &sound[(*data & 127u) / KINDS % 4];
    if (!f->count)
        hf_make(f, names[f - sound], TN_F16, "");
    size_t n = bytes - 1, zeros = *data & 128 ? f->weights.bytes : 0;
    uint8_t *exact = calloc(1, n + zeros + !n); // for the sanitizer
    memcpy(exact, data + 1, n);
    struct safetensors_source own = {"input", exact, n + zeros};
    struct safetensors_source weights = hf_source("weights", &f->weights);
    struct safetensors_model m = {.shards = &weights,
                                  .shard_count = 1,
                                  .config = hf_source("config", &f->config),
                                  .tokenizer = hf_source("tokenizer", &f->tokenizer)};
    switch (kind) {
    case WEIGHTS:
        weights = own;
        break;
    case CONFIG:
        m.config = own;
        break;
    case TOKENIZER:
        m.tokenizer = own;
        break;
    case SETTINGS:
        m.tokenizer_config = own;
        break;
    default:
        open_index(&own);
    }
    if (kind != INDEX)
        open_model(&m);
    free(exact);
    return 0;
}
