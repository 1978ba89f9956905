// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Names of tensors: Hugging Face's to GGUF's.
#include "tensor/format/hf.h"

#include <stdio.h>
#include <string.h>

struct rule {
    const char *from, *to; // stems; ".weight" and ".bias" follow
    bool required;         // the weight
    bool transpose;
};

static const struct rule llama_whole[] = {{"model.embed_tokens", "token_embd", true, false},
                                          {"model.norm", "output_norm", true, false},
                                          {"lm_head", "output", false, false},
                                          {NULL, NULL, false, false}};
static const struct rule llama_layer[] = {{"input_layernorm", "attn_norm", true, false},
                                          {"self_attn.q_proj", "attn_q", true, false},
                                          {"self_attn.k_proj", "attn_k", true, false},
                                          {"self_attn.v_proj", "attn_v", true, false},
                                          {"self_attn.o_proj", "attn_output", true, false},
                                          {"self_attn.q_norm", "attn_q_norm", false, false},
                                          {"self_attn.k_norm", "attn_k_norm", false, false},
                                          {"post_attention_layernorm", "ffn_norm", true, false},
                                          {"mlp.gate_proj", "ffn_gate", true, false},
                                          {"mlp.up_proj", "ffn_up", true, false},
                                          {"mlp.down_proj", "ffn_down", true, false},
                                          {NULL, NULL, false, false}};

static const struct rule gpt2_whole[] = {{"wte", "token_embd", true, false},
                                         {"wpe", "position_embd", true, false},
                                         {"ln_f", "output_norm", true, false},
                                         {"lm_head", "output", false, false},
                                         {NULL, NULL, false, false}};
static const struct rule gpt2_layer[] = {{"ln_1", "attn_norm", true, false},
                                         {"attn.c_attn", "attn_qkv", true, true},
                                         {"attn.c_proj", "attn_output", true, true},
                                         {"ln_2", "ffn_norm", true, false},
                                         {"mlp.c_fc", "ffn_up", true, true},
                                         {"mlp.c_proj", "ffn_down", true, true},
                                         {NULL, NULL, false, false}};

static const struct family {
    const char *prefix;     // may stand before any name
    const char *layer;      // before a layer's number
    const char *ignored[3]; // within a layer
    const struct rule *whole, *each;
} families[] = {
    [HF_LLAMA] = {"", "model.layers.", {"self_attn.rotary_emb.inv_freq"}, llama_whole, llama_layer},
    [HF_GPT2] = {"transformer.", "h.", {"attn.bias", "attn.masked_bias"}, gpt2_whole, gpt2_layer},
};

static bool starts(const char **text, const char *with)
{
    size_t n = strlen(with);
    if (strncmp(*text, with, n) != 0)
        return false;
    *text += n;
    return true;
}

// A layer's number and the dot behind it.
static bool take_layer(const char **text, uint32_t *layer)
{
    uint32_t n = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9' && c - *text < 6; c++)
        n = n * 10 + (uint32_t)(*c - '0');
    if (c == *text || *c != '.')
        return false;
    *text = c + 1;
    *layer = n;
    return true;
}

bool hf_tensor_name(enum hf_family family, const char *name, struct hf_name *out)
{
    const struct family *f = &families[family];
    const struct rule *rule = f->whole;
    char before[24] = "";
    *out = (struct hf_name){.layer = UINT32_MAX};
    starts(&name, f->prefix);
    const char *rest = name;
    if (starts(&rest, f->layer) && take_layer(&rest, &out->layer)) {
        snprintf(before, sizeof before, "blk.%u.", out->layer);
        name = rest;
        rule = f->each;
        for (size_t i = 0; i < sizeof f->ignored / sizeof *f->ignored; i++)
            out->ignored = out->ignored || (f->ignored[i] && strcmp(name, f->ignored[i]) == 0);
    }
    for (; rule->from && !out->ignored; rule++) {
        const char *suffix = name;
        if (!starts(&suffix, rule->from))
            continue;
        bool weight = strcmp(suffix, ".weight") == 0;
        if (!weight && strcmp(suffix, ".bias") != 0)
            continue;
        snprintf(out->text, sizeof out->text, "%s%s%s", before, rule->to, suffix);
        out->transpose = rule->transpose && weight;
        return true;
    }
    return out->ignored;
}

bool hf_required(enum hf_family family, size_t i, uint32_t layer, struct hf_required *out)
{
    const struct family *f = &families[family];
    const struct rule *rule = layer == UINT32_MAX ? f->whole : f->each;
    for (; rule->from; rule++) {
        if (!rule->required || i-- > 0)
            continue;
        if (layer == UINT32_MAX) {
            snprintf(out->theirs, sizeof out->theirs, "%s.weight", rule->from);
            snprintf(out->ours, sizeof out->ours, "%s.weight", rule->to);
        } else {
            snprintf(out->theirs, sizeof out->theirs, "%s%u.%s.weight", f->layer, layer,
                     rule->from);
            snprintf(out->ours, sizeof out->ours, "blk.%u.%s.weight", layer, rule->to);
        }
        return true;
    }
    return false;
}
