// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Types of tensors by recipe. The mixtures and fallbacks are those that llama.cpp has under the
// same names, so that files are alike in size.
#include "hypercall/host/tool/quantize_plan.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// The first and last eighth of the layers, and every third between.
static bool important(uint32_t layer, uint32_t layers)
{
    uint32_t eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}
static bool every(uint32_t layer, uint32_t layers)
{
    (void)layer, (void)layers;
    return true;
}
static bool first_four(uint32_t layer, uint32_t layers)
{
    (void)layers;
    return layer < 4;
}
static bool first_eighth(uint32_t layer, uint32_t layers)
{
    return layer < layers / 8;
}

static const struct quantize_recipe recipes[] = {
    {.name = "F32", .type = TN_F32, .file_type = 0},
    {.name = "F16", .type = TN_F16, .file_type = 1},
    {.name = "BF16", .type = TN_BF16, .file_type = 32},
    {.name = "Q8_0", .type = TN_Q8_0, .file_type = 7},
    {.name = "Q4_0", .type = TN_Q4_0, .file_type = 2},
    {.name = "Q4_1", .type = TN_Q4_1, .file_type = 3},
    {.name = "Q5_0", .type = TN_Q5_0, .file_type = 8},
    {.name = "Q5_1", .type = TN_Q5_1, .file_type = 9},
    {.name = "Q2_K", .type = TN_Q2_K, .file_type = 10},
    {.name = "Q3_K", .type = TN_Q3_K, .file_type = 11},
    {.name = "Q4_K", .type = TN_Q4_K, .file_type = 14},
    {.name = "Q5_K", .type = TN_Q5_K, .file_type = 16},
    {.name = "Q6_K", .type = TN_Q6_K, .file_type = 18},
    {.name = "IQ4_NL", .type = TN_IQ4_NL, .file_type = 25},
    {.name = "IQ4_XS", .type = TN_IQ4_XS, .file_type = 30},
    {.name = "MXFP4", .type = TN_MXFP4, .file_type = 38},
    {.name = "Q3_K_S", .type = TN_Q3_K, .file_type = 11},
    {.name = "Q5_K_S", .type = TN_Q5_K, .file_type = 16},
    {.name = "Q3_K_M",
     .type = TN_Q3_K,
     .file_type = 12,
     .value_type = TN_Q4_K,
     .value_layer = every,
     .down_type = TN_Q4_K,
     .down_layer = every,
     .output_type = TN_Q4_K},
    {.name = "Q3_K_L",
     .type = TN_Q3_K,
     .file_type = 13,
     .value_type = TN_Q5_K,
     .value_layer = every,
     .down_type = TN_Q5_K,
     .down_layer = every,
     .output_type = TN_Q5_K},
    {.name = "Q4_K_S",
     .type = TN_Q4_K,
     .file_type = 14,
     .value_type = TN_Q5_K,
     .value_layer = first_four,
     .down_type = TN_Q5_K,
     .down_layer = first_eighth},
    {.name = "Q4_K_M",
     .type = TN_Q4_K,
     .file_type = 15,
     .value_type = TN_Q6_K,
     .value_layer = important,
     .down_type = TN_Q6_K,
     .down_layer = important},
    {.name = "Q5_K_M",
     .type = TN_Q5_K,
     .file_type = 17,
     .value_type = TN_Q6_K,
     .value_layer = important,
     .down_type = TN_Q6_K,
     .down_layer = important},
};

// NULL beyond the last.
static const struct quantize_recipe *quantize_at(size_t i)
{
    return i < sizeof recipes / sizeof *recipes ? &recipes[i] : NULL;
}

const struct quantize_recipe *quantize_find(const char *name)
{
    for (size_t i = 0; quantize_at(i); i++) {
        if (strcasecmp(recipes[i].name, name) == 0) {
            return &recipes[i];
        }
    }
    return NULL;
}

struct quantize_model quantize_describe(const struct gguf *g, bool pure)
{
    struct quantize_model m = {.tied = !gguf_find(g, "output.weight"), .pure = pure};
    struct gguf_string architecture;
    char key[96];
    uint64_t layers;
    if (gguf_str(g, "general.architecture", &architecture) == 0 && architecture.bytes < 64) {
        snprintf(key, sizeof key, "%.*s.block_count", (int)architecture.bytes, architecture.data);
        if (gguf_u64(g, key, &layers) == 0 && layers < UINT32_MAX) {
            m.layers = (uint32_t)layers;
        }
    }
    return m;
}

static bool has(const struct gguf_tensor *t, const char *part)
{
    return memmem(t->name.data, t->name.bytes, part, strlen(part)) != NULL;
}

static bool is(const struct gguf_tensor *t, const char *name)
{
    return t->name.bytes == strlen(name) && memcmp(t->name.data, name, t->name.bytes) == 0;
}

// Matrices that are multiplied by, and the token table.
static bool is_matrix(const struct gguf_tensor *t)
{
    static const char suffix[] = ".weight";
    size_t n = sizeof suffix - 1;
    return t->dims >= 2 && t->name.bytes >= n &&
           memcmp(t->name.data + t->name.bytes - n, suffix, n) == 0 && !has(t, "_norm.weight") &&
           !has(t, "ffn_gate_inp") && !is(t, "position_embd.weight") &&
           !is(t, "token_types.weight");
}

static uint32_t layer_of(const struct gguf_tensor *t)
{
    char name[64];
    unsigned layer = 0;
    snprintf(name, sizeof name, "%.*s", (int)(t->name.bytes < 63 ? t->name.bytes : 63),
             t->name.data);
    return sscanf(name, "blk.%9u.", &layer) == 1 ? layer : 0;
}

static uint32_t wanted(const struct quantize_recipe *r, const struct quantize_model *m,
                       const struct gguf_tensor *t)
{
    bool blocks = tn_type_info(r->type)->block_values > 1;
    if (m->pure || !blocks) {
        return r->type;
    }
    if (is(t, "output.weight") || (m->tied && is(t, "token_embd.weight"))) {
        bool whole = t->shape[0] % tn_type_info(r->type)->block_values == 0;
        return r->type == TN_Q8_0 || r->type == TN_MXFP4 || !whole ? TN_Q8_0 : TN_Q6_K;
    }
    uint32_t layer = layer_of(t);
    if ((has(t, "attn_v.weight") || has(t, "attn_qkv.weight")) && r->value_type &&
        r->value_layer(layer, m->layers)) {
        return r->value_type;
    }
    if (has(t, "ffn_down") && r->down_type && r->down_layer(layer, m->layers)) {
        return r->down_type;
    }
    return has(t, "attn_output.weight") && r->output_type ? r->output_type : r->type;
}

// For rows that are no whole blocks of `type`.
static uint32_t smaller_blocks(uint32_t type)
{
    switch (type) {
    case TN_Q2_K:
    case TN_Q3_K:
        return TN_Q4_0;
    case TN_Q4_K:
        return TN_Q5_0;
    case TN_Q5_K:
        return TN_Q5_1;
    case TN_Q6_K:
        return TN_Q8_0;
    case TN_IQ4_XS:
        return TN_IQ4_NL;
    default:
        return TN_F16;
    }
}

uint32_t quantize_type(const struct quantize_recipe *r, const struct quantize_model *m,
                       const struct gguf_tensor *t, bool *shortened)
{
    *shortened = false;
    if (!is_matrix(t)) { // vectors are few and add to everything: never less than F32
        return t->dims < 2 && (t->type == TN_F16 || t->type == TN_BF16) ? TN_F32 : t->type;
    }
    uint32_t type = wanted(r, m, t);
    while (t->shape[0] % tn_type_info(type)->block_values != 0) {
        type = smaller_blocks(type);
        *shortened = true;
    }
    return type;
}
