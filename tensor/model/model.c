// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opening a model: GGUF, hyperparameters, tokenizer, graph.
#include "tensor/model/model_private.h"

#include "tensor/pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tn_architecture *const architectures[] = {
    &tn_architecture_llama,    &tn_architecture_qwen2, &tn_architecture_qwen3,
    &tn_architecture_qwen3moe, &tn_architecture_phi3,  &tn_architecture_gemma2,
    &tn_architecture_gemma3,   &tn_architecture_gpt2,  &tn_architecture_gpt_oss,
    &tn_architecture_bert,
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

static const struct tn_architecture *find_architecture(const char *name)
{
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        if (strcmp(architectures[i]->name, name) == 0) {
            return architectures[i];
        }
    }
    return NULL;
}

static void describe(struct tn_model *m)
{
    const struct tn_hparams *h = &m->hparams;
    struct tn_model_info *i = &m->info;
    struct gguf_string name;
    memcpy(i->architecture, h->architecture, sizeof i->architecture);
    if (gguf_str(m->gguf, "general.name", &name) != 0 || name.bytes == 0) {
        name = (struct gguf_string){h->architecture, strlen(h->architecture)};
    }
    size_t n = name.bytes < sizeof i->name - 1 ? name.bytes : sizeof i->name - 1;
    memcpy(i->name, name.data, n);
    i->name[n] = 0;
    uint64_t by_type[TN_TYPE_LIMIT] = {0};
    for (uint64_t t = 0; t < gguf_tensor_count(m->gguf); t++) {
        const struct gguf_tensor *w = gguf_tensor_at(m->gguf, t);
        i->parameters += w->shape[0] * w->shape[1] * w->shape[2] * w->shape[3];
        i->weight_bytes += w->bytes;
        i->packed |= (w->type & TN_PACKED) != 0;
        if ((w->type & ~(uint32_t)TN_PACKED) < TN_TYPE_LIMIT) {
            by_type[w->type & ~(uint32_t)TN_PACKED] += w->bytes;
        }
    }
    for (uint32_t t = 0; t < TN_TYPE_LIMIT; t++) {
        if (by_type[t] > by_type[i->weight_type]) {
            i->weight_type = t;
        }
    }
    i->context = h->context;
    i->embedding = h->embedding;
    i->layers = h->layers;
    i->heads = h->heads;
    i->kv_heads = h->kv_heads;
    i->head_dim = h->head_dim;
    i->feed_forward = h->feed_forward;
    i->vocabulary = h->vocabulary;
    i->experts = h->experts;
    i->experts_used = h->experts_used;
    i->chat = chat_recognise(m->gguf);
}

static int build_graph(struct tn_model *m, const struct tn_architecture *a, char *error,
                       size_t error_bytes)
{
    const struct tn_hparams *h = &m->hparams;
    struct ir_graph *g = &m->graph;
    ir_begin(g, m->gguf, error, error_bytes);
    g->vocabulary = h->vocabulary;
    g->embedding = h->embedding;
    g->layers = h->layers;
    g->heads = h->heads;
    g->kv_heads = h->kv_heads;
    g->head_dim = h->head_dim;
    g->context = h->context;
    a->build(g, h);
    return ir_finish(g);
}

// The file's architecture; NULL with a message that names it and what there is.
static const struct tn_architecture *architecture_of(const struct gguf *g, char *error,
                                                     size_t error_bytes)
{
    struct gguf_string name = {0};
    char text[64] = "", names[256] = "";
    if (gguf_str(g, "general.architecture", &name) != 0 || name.bytes == 0 ||
        name.bytes >= sizeof text) {
        snprintf(error, error_bytes, "general.architecture: key is missing, empty or too long");
        return NULL;
    }
    memcpy(text, name.data, name.bytes);
    const struct tn_architecture *a = find_architecture(text);
    size_t used = 0;
    for (size_t i = 0; !a && i < ARCHITECTURES && used < sizeof names; i++) {
        int n = snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                         architectures[i]->name);
        used += n > 0 ? (size_t)n : 0;
    }
    if (!a) {
        snprintf(error, error_bytes,
                 "general.architecture: '%s' is not supported; supported are %s", text, names);
    }
    return a;
}

// Packed weights lie as this version's kernels read them.
static int check_packing(const struct gguf *g, char *error, size_t error_bytes)
{
    uint64_t version = 0;
    for (uint64_t t = 0; t < gguf_tensor_count(g); t++) {
        if (!(gguf_tensor_at(g, t)->type & TN_PACKED)) {
            continue;
        }
        if (gguf_u64(g, "tessera.packed.version", &version) != 0 || version != TN_PACKED_VERSION) {
            snprintf(error, error_bytes,
                     "tessera.packed.version: %llu, expected %d; pack the source again",
                     (unsigned long long)version, TN_PACKED_VERSION);
            return -ENOTSUP;
        }
        return 0;
    }
    return 0;
}

static int fill_model(struct tn_model *m, char *error, size_t error_bytes)
{
    int packing = check_packing(m->gguf, error, error_bytes);
    if (packing) {
        return packing;
    }
    const struct tn_architecture *a = architecture_of(m->gguf, error, error_bytes);
    if (!a) {
        return gguf_str(m->gguf, "general.architecture", &(struct gguf_string){0}) ? -EINVAL
                                                                                   : -ENOTSUP;
    }
    int e = tn_hparams_read(m->gguf, a, &m->hparams, error, error_bytes);
    if (!e) {
        e = build_graph(m, a, error, error_bytes);
    }
    if (!e) {
        e = tokenizer_open(m->gguf, &m->tokenizer, error, error_bytes);
    }
    if (!e && tokenizer_size(m->tokenizer) > m->hparams.vocabulary) {
        e = -EINVAL;
        snprintf(error, error_bytes,
                 "token_embd.weight: %u rows, but tokenizer.ggml.tokens has %u entries",
                 m->hparams.vocabulary, tokenizer_size(m->tokenizer));
    }
    if (!e) {
        m->info.embeds = a->embeds;
        describe(m);
    }
    return e;
}

int tn_model_open_index(struct gguf *g, struct tn_model **out, char *error, size_t error_bytes)
{
    struct tn_model *m = calloc(1, sizeof *m);
    if (!m) {
        snprintf(error, error_bytes, "no memory for the model");
        return -ENOMEM;
    }
    m->gguf = g;
    int e = fill_model(m, error, error_bytes);
    if (e) {
        gguf_say_where(g, error, error_bytes);
        m->gguf = NULL; // still the caller's
        tn_model_close(m);
        return e;
    }
    *out = m;
    return 0;
}

int tn_model_open(const void *gguf, size_t bytes, struct tn_model **out, char *error,
                  size_t error_bytes)
{
    struct gguf *g;
    int e = gguf_open(gguf, bytes, &g, error, error_bytes);
    if (e) {
        return e;
    }
    e = tn_model_open_index(g, out, error, error_bytes);
    if (e) {
        gguf_close(g);
    }
    return e;
}

void tn_model_close(struct tn_model *m)
{
    if (!m) {
        return;
    }
    ir_end(&m->graph);
    if (m->tokenizer) {
        tokenizer_close(m->tokenizer);
    }
    if (m->gguf) {
        gguf_close(m->gguf);
    }
    free(m);
}

void tn_model_info(const struct tn_model *m, struct tn_model_info *out)
{
    *out = m->info;
}

const struct tokenizer *tn_model_tokenizer(const struct tn_model *m)
{
    return m->tokenizer;
}

const struct gguf *tn_model_gguf(const struct tn_model *m)
{
    return m->gguf;
}
