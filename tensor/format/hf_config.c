// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// config.json of a Hugging Face model to GGUF keys. What would change the numbers and is not
// understood is refused by name.
#include "tensor/format/hf.h"

#include "tensor/core/math.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct config {
    struct hf_reader *r;
    json_t *json;
    int rc; // the first error
};

static void refuse(struct config *c, int rc, const char *key, const char *what)
{
    if (!c->rc)
        c->rc = hf_fail(c->r, rc, &c->r->model->config, "%s: %s", key, what);
}

// null counts as absent everywhere.
static json_t *find(const struct config *c, const char *key)
{
    json_t *v = json_object_get(c->json, key);
    return v && !json_is_null(v) ? v : NULL;
}

enum { REQUIRED = -1 };

static uint32_t whole(struct config *c, const char *key, int64_t absent)
{
    json_t *v = find(c, key);
    char what[64];
    if (!v) {
        if (absent == REQUIRED)
            refuse(c, -ENOENT, key, "is missing");
        return absent == REQUIRED ? 0 : (uint32_t)absent;
    }
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > INT32_MAX) {
        snprintf(what, sizeof what, "is no whole number from 0 to %d", INT32_MAX);
        refuse(c, -EINVAL, key, what);
        return 0;
    }
    return (uint32_t)n;
}

static double number(struct config *c, json_t *from, const char *key, double absent)
{
    json_t *v = json_object_get(from, key);
    if (!v || json_is_null(v)) {
        if (absent < 0)
            refuse(c, -ENOENT, key, "is missing");
        return absent;
    }
    double n = json_is_number(v) ? json_number_value(v) : NAN;
    if (!(n >= 0 && n <= 1e12)) {
        refuse(c, -EINVAL, key, "is no number from 0 to 1e12");
        return 1;
    }
    return n;
}

static bool flag(struct config *c, const char *key, bool absent)
{
    json_t *v = find(c, key);
    if (v && !json_is_boolean(v))
        refuse(c, -EINVAL, key, "is neither true nor false");
    return v ? json_is_true(v) : absent;
}

// A setting that must have one value where it is given.
static void expect_text(struct config *c, const char *key, const char *const *allowed)
{
    json_t *v = find(c, key);
    char shown[48], what[96];
    if (!v)
        return;
    const char *text = json_string_value(v);
    for (; text && *allowed; allowed++) {
        if (strcmp(text, *allowed) == 0)
            return;
    }
    snprintf(what, sizeof what, "'%s' is not supported",
             hf_show(text ? text : "(no text)", shown, sizeof shown));
    refuse(c, -ENOTSUP, key, what);
}

static void put_u32(struct config *c, const char *key, uint32_t value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", c->r->architecture, key);
    tn_gguf_put_u32(c->r->keys, name, value);
}

static void put_f32(struct config *c, const char *key, double value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", c->r->architecture, key);
    tn_gguf_put_f32(c->r->keys, name, (float)value);
}

static void put_text(struct config *c, const char *key, const char *value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", c->r->architecture, key);
    tn_gguf_put_string(c->r->keys, name, value);
}

// ---- rotary positions ---------------------------------------------------------------------------

// Llama 3's scaling: slow rotations are divided by the factor, fast ones kept, between them a
// mixture. GGUF has the divisors as a tensor.
static void llama3_factors(struct config *c, json_t *scaling, double base, uint32_t dimensions)
{
    const double turn = 6.283185307179586;
    double factor = number(c, scaling, "factor", REQUIRED);
    double low = number(c, scaling, "low_freq_factor", REQUIRED);
    double high = number(c, scaling, "high_freq_factor", REQUIRED);
    double original = number(c, scaling, "original_max_position_embeddings", REQUIRED);
    if (c->rc)
        return;
    if (!(factor >= 1) || !(low > 0) || !(high > low) || !(original >= 1)) {
        refuse(c, -EINVAL, "rope_scaling", "its factors make no sense");
        return;
    }
    uint32_t n = dimensions / 2;
    float *factors = malloc((n ? n : 1) * sizeof *factors);
    if (!factors) {
        refuse(c, -ENOMEM, "rope_scaling", "no memory");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        double length = turn * tn_pow(base, 2.0 * i / dimensions); // of a wave, in positions
        double mix = (original / length - low) / (high - low);
        mix = mix < 0 ? 0 : mix > 1 ? 1 : mix;
        factors[i] = (float)(1 / ((1 - mix) / factor + mix));
    }
    c->r->rope_factors = factors;
    c->r->rope_factor_count = n;
}

static void yarn(struct config *c, json_t *scaling)
{
    static const char *const unknown[] = {"attention_factor", "mscale", "mscale_all_dim",
                                          "beta_fast", "beta_slow"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        json_t *v = json_object_get(scaling, unknown[i]);
        double usual = strcmp(unknown[i], "beta_fast") == 0   ? 32
                       : strcmp(unknown[i], "beta_slow") == 0 ? 1
                                                              : -1;
        if (v && !json_is_null(v) && json_number_value(v) != usual)
            refuse(c, -ENOTSUP, unknown[i], "is not supported in yarn scaling");
    }
    put_text(c, "rope.scaling.type", "yarn");
    put_f32(c, "rope.scaling.factor", number(c, scaling, "factor", REQUIRED));
    double original = number(c, scaling, "original_max_position_embeddings",
                             whole(c, "max_position_embeddings", REQUIRED));
    put_u32(c, "rope.scaling.original_context_length",
            original <= INT32_MAX ? (uint32_t)original : 0);
}

static void rotary(struct config *c, uint32_t dimensions)
{
    // Newer files keep all of it in rope_parameters.
    json_t *together = find(c, "rope_parameters"), *scaling = find(c, "rope_scaling");
    double base = number(c, together ? together : c->json, "rope_theta", 10000);
    scaling = together ? together : scaling;
    put_f32(c, "rope.freq_base", base);
    put_u32(c, "rope.dimension_count", dimensions);
    if (number(c, c->json, "partial_rotary_factor", 1) != 1)
        refuse(c, -ENOTSUP, "partial_rotary_factor", "other than 1 is not supported");
    if (scaling && !json_is_object(scaling)) {
        refuse(c, -EINVAL, "rope_scaling", "is no object");
        return;
    }
    json_t *kind = json_object_get(scaling, "rope_type");
    kind = kind ? kind : json_object_get(scaling, "type");
    const char *type = scaling && kind ? json_string_value(kind) : "default";
    char shown[48], what[96];
    if (!type || c->rc) {
        refuse(c, -EINVAL, "rope_scaling", "its type is no text");
    } else if (strcmp(type, "linear") == 0) {
        put_text(c, "rope.scaling.type", "linear");
        put_f32(c, "rope.scaling.factor", number(c, scaling, "factor", REQUIRED));
    } else if (strcmp(type, "llama3") == 0) {
        llama3_factors(c, scaling, base, dimensions);
    } else if (strcmp(type, "yarn") == 0) {
        yarn(c, scaling);
    } else if (strcmp(type, "default") != 0) {
        snprintf(what, sizeof what, "type '%s' is not supported (linear, llama3, yarn are)",
                 hf_show(type, shown, sizeof shown));
        refuse(c, -ENOTSUP, "rope_scaling", what);
    }
}

// ---- architectures ------------------------------------------------------------------------------

// Within its window a sliding attention is a full one, so a context of the window's length is
// exact.
static uint32_t context_of(struct config *c)
{
    uint32_t context = whole(c, "max_position_embeddings", REQUIRED);
    bool qwen = strncmp(c->r->architecture, "qwen", 4) == 0;
    uint32_t window = flag(c, "use_sliding_window", !qwen) ? whole(c, "sliding_window", 0) : 0;
    return window && window < context ? window : context;
}

static void read_llama(struct config *c)
{
    static const char *const silu[] = {"silu", "swish", NULL};
    uint32_t heads = whole(c, "num_attention_heads", REQUIRED);
    uint32_t width = whole(c, "hidden_size", REQUIRED);
    expect_text(c, "hidden_act", silu);
    if (!c->rc && (heads == 0 || width == 0))
        refuse(c, -EINVAL, heads ? "hidden_size" : "num_attention_heads", "is 0");
    if (c->rc)
        return;
    uint32_t head = whole(c, "head_dim", width / heads);
    if (head == 0 || head > 65536)
        refuse(c, -EINVAL, "head_dim", "is impossible");
    put_u32(c, "context_length", context_of(c));
    put_u32(c, "embedding_length", width);
    put_u32(c, "feed_forward_length", whole(c, "intermediate_size", REQUIRED));
    put_u32(c, "attention.head_count", heads);
    put_u32(c, "attention.head_count_kv", whole(c, "num_key_value_heads", heads));
    put_u32(c, "attention.key_length", head);
    put_u32(c, "attention.value_length", head);
    put_f32(c, "attention.layer_norm_rms_epsilon", number(c, c->json, "rms_norm_eps", 1e-6));
    if (!c->rc)
        rotary(c, head);
    if (strcmp(c->r->architecture, "llama") == 0)
        tn_gguf_put_bool(c->r->keys, "tessera.rope.split_halves", true);
    c->r->layers = whole(c, "num_hidden_layers", REQUIRED);
    c->r->tied = flag(c, "tie_word_embeddings", false);
}

static void read_gpt2(struct config *c)
{
    static const char *const gelu[] = {"gelu_new", "gelu_pytorch_tanh", NULL};
    uint32_t width = whole(c, "n_embd", REQUIRED);
    uint32_t inner = whole(c, "n_inner", (int64_t)4 * width);
    expect_text(c, "activation_function", gelu);
    if (!flag(c, "scale_attn_weights", true))
        refuse(c, -ENOTSUP, "scale_attn_weights", "false is not supported");
    if (flag(c, "scale_attn_by_inverse_layer_idx", false))
        refuse(c, -ENOTSUP, "scale_attn_by_inverse_layer_idx", "true is not supported");
    put_u32(c, "context_length", whole(c, "n_positions", whole(c, "n_ctx", 1024)));
    put_u32(c, "embedding_length", width);
    put_u32(c, "feed_forward_length", inner);
    put_u32(c, "attention.head_count", whole(c, "n_head", REQUIRED));
    put_f32(c, "attention.layer_norm_epsilon", number(c, c->json, "layer_norm_epsilon", 1e-5));
    c->r->layers = whole(c, "n_layer", REQUIRED);
    c->r->tied = flag(c, "tie_word_embeddings", true);
}

static const struct {
    const char *theirs, *ours;
    enum hf_family family;
} architectures[] = {{"LlamaForCausalLM", "llama", HF_LLAMA},
                     {"MistralForCausalLM", "llama", HF_LLAMA},
                     {"Qwen2ForCausalLM", "qwen2", HF_LLAMA},
                     {"Qwen3ForCausalLM", "qwen3", HF_LLAMA},
                     {"GPT2LMHeadModel", "gpt2", HF_GPT2}};

static void choose(struct config *c)
{
    json_t *list = find(c, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    char shown[64], what[192];
    if (!name) {
        refuse(c, -EINVAL, "architectures", "is missing, or no list of texts");
        return;
    }
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(architectures[i].theirs, name) == 0) {
            snprintf(c->r->architecture, sizeof c->r->architecture, "%s", architectures[i].ours);
            c->r->family = architectures[i].family;
            return;
        }
    }
    snprintf(what, sizeof what,
             "'%s' is not supported from safetensors (LlamaForCausalLM, MistralForCausalLM, "
             "Qwen2ForCausalLM, Qwen3ForCausalLM, GPT2LMHeadModel are)",
             hf_show(name, shown, sizeof shown));
    refuse(c, -ENOTSUP, "architectures", what);
}

// A number, or the first of several.
static int64_t id_of(const struct config *c, const char *key)
{
    json_t *v = find(c, key);
    v = json_is_array(v) ? json_array_get(v, 0) : v;
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    return n >= 0 && n < INT32_MAX ? (int64_t)n : -1;
}

int hf_config(struct hf_reader *r, json_t *json)
{
    struct config c = {.r = r, .json = json};
    if (!json_is_object(json))
        return hf_fail(r, -EINVAL, &r->model->config, "is no JSON object");
    choose(&c);
    if (c.rc)
        return c.rc;
    if (find(&c, "quantization_config"))
        refuse(&c, -ENOTSUP, "quantization_config",
               "weights that are quantised already are not supported in safetensors");
    const char *name = json_string_value(find(&c, "_name_or_path"));
    const char *slash = name ? strrchr(name, '/') : NULL;
    name = slash ? slash + 1 : name;
    const char *type = json_string_value(find(&c, "model_type"));
    tn_gguf_put_string(r->keys, "general.architecture", r->architecture);
    tn_gguf_put_string(r->keys, "general.name",
                       name && *name   ? name
                       : type && *type ? type
                                       : r->architecture);
    if (r->family == HF_LLAMA)
        read_llama(&c);
    else
        read_gpt2(&c);
    put_u32(&c, "block_count", r->layers);
    r->vocabulary = whole(&c, "vocab_size", REQUIRED);
    put_u32(&c, "vocab_size", r->vocabulary);
    if (!c.rc && (r->layers == 0 || r->layers > 4096))
        refuse(&c, -EINVAL, "the number of layers", "is not from 1 to 4096");
    if (!c.rc && (r->vocabulary == 0 || r->vocabulary > 1u << 24))
        refuse(&c, -EINVAL, "vocab_size", "is not from 1 to 16777216");
    r->begin = id_of(&c, "bos_token_id");
    r->end = id_of(&c, "eos_token_id");
    return c.rc;
}
