// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Hyperparameters out of the GGUF's keys. Every number is bounded before anything is computed with
// it.
#include "tensor/model/model_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const struct gguf *g;
    const char *architecture;
    char *error;
    size_t error_bytes;
    int result;
};

static void fail(struct reader *r, int result, const char *key, const char *what)
{
    if (!r->result) {
        r->result = result;
        snprintf(r->error, r->error_bytes, "%s: %s", key, what);
    }
}

static void full_key(const struct reader *r, const char *key, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s.%s", r->architecture, key);
}

// The same for a key "<architecture>.key".
static void fail_own(struct reader *r, int result, const char *key, const char *what)
{
    char name[96];
    full_key(r, key, name, sizeof name);
    fail(r, result, name, what);
}

// The value of a key that may be an array with one number a layer: all must be equal then.
static int number_or_equal_numbers(struct reader *r, const char *name, uint64_t *out)
{
    struct gguf_array values;
    int e = gguf_u64(r->g, name, out);
    if (e != -EINVAL || gguf_arr(r->g, name, &values) != 0 || values.count == 0 ||
        values.count > TN_MOST_LAYERS) {
        return e;
    }
    for (uint64_t i = 0; i < values.count; i++) {
        int64_t v;
        if (gguf_arr_i64(r->g, name, i, &v) != 0 || v < 0) {
            return -EINVAL;
        }
        if (i > 0 && (uint64_t)v != *out) {
            fail(r, -ENOTSUP, name, "differs from layer to layer, which is not supported");
            return -EINVAL;
        }
        *out = (uint64_t)v;
    }
    return 0;
}

// An integer in [least, most]; `absent` when the key is missing (UINT32_MAX: it must be there).
static uint32_t read_u32(struct reader *r, const char *key, uint32_t least, uint32_t most,
                         uint32_t absent)
{
    char name[96], what[96];
    uint64_t v = 0;
    full_key(r, key, name, sizeof name);
    int e = number_or_equal_numbers(r, name, &v);
    if (e == -ENOENT) {
        if (absent == UINT32_MAX) {
            fail(r, -ENOENT, name, "key is missing");
        }
        return absent;
    }
    if (e) {
        fail(r, -EINVAL, name, "is not an unsigned number");
        return absent;
    }
    if (v < least || v > most) {
        snprintf(what, sizeof what, "is %llu, expected %u to %u", (unsigned long long)v, least,
                 most);
        fail(r, -EINVAL, name, what);
        return absent;
    }
    return (uint32_t)v;
}

static double read_f64(struct reader *r, const char *key, double least, double most, double absent)
{
    char name[96], what[96];
    double v;
    full_key(r, key, name, sizeof name);
    int e = gguf_f64(r->g, name, &v);
    if (e == -ENOENT) {
        if (absent < 0) {
            fail(r, -ENOENT, name, "key is missing");
        }
        return absent;
    }
    if (e || !(v >= least && v <= most)) {
        snprintf(what, sizeof what, "is not a number from %g to %g", least, most);
        fail(r, -EINVAL, name, what);
        return absent;
    }
    return v;
}

static bool is_word(struct gguf_string s, const char *word)
{
    return s.bytes == strlen(word) && memcmp(s.data, word, s.bytes) == 0;
}

static void read_rope_scaling(struct reader *r, struct tn_hparams *h)
{
    char name[96];
    struct gguf_string type;
    full_key(r, "rope.scaling.factor", name, sizeof name);
    double factor;
    bool newer = gguf_f64(r->g, name, &factor) != -ENOENT; // older files say scale_linear
    factor = read_f64(r, newer ? "rope.scaling.factor" : "rope.scale_linear", 0, 1e6, 1);
    h->rope_factor = factor > 0 ? factor : 1;
    h->rope_scaling = TN_ROPE_LINEAR;
    full_key(r, "rope.scaling.type", name, sizeof name);
    if (gguf_str(r->g, name, &type) == 0) {
        if (is_word(type, "none")) {
            h->rope_scaling = TN_ROPE_PLAIN;
            h->rope_factor = 1;
        } else if (is_word(type, "yarn")) {
            h->rope_scaling = TN_ROPE_YARN;
        } else if (is_word(type, "longrope")) {
            h->rope_scaling = TN_ROPE_LONG;
        } else if (!is_word(type, "linear")) {
            char what[96];
            snprintf(what, sizeof what,
                     "'%.*s' is not supported (none, linear, yarn, longrope are)",
                     (int)(type.bytes < 32 ? type.bytes : 32), type.data);
            fail(r, -ENOTSUP, name, what);
        }
    }
    h->rope_attention_factor = read_f64(r, "rope.scaling.attn_factor", 1e-3, 1e3, 1);
    h->rope_context = read_u32(r, "rope.scaling.original_context_length", 1, 1u << 24, h->context);
    h->yarn_fast = read_f64(r, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    h->yarn_slow = read_f64(r, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
}

static void read_rope(struct reader *r, struct tn_hparams *h)
{
    h->rope_dimensions = read_u32(r, "rope.dimension_count", 2, h->head_dim, h->head_dim);
    if (h->rope_dimensions % 2 != 0) {
        fail_own(r, -EINVAL, "rope.dimension_count", "is odd");
    }
    h->rope_base = read_f64(r, "rope.freq_base", 1, 1e12, 10000);
    h->rope_base_window = read_f64(r, "rope.freq_base_swa", 1, 1e12, 0);
    read_rope_scaling(r, h);
}

static void read_window(struct reader *r, struct tn_hparams *h)
{
    char name[96];
    struct gguf_array list;
    h->window = read_u32(r, "attention.sliding_window", 0, 1u << 24, 0);
    full_key(r, "attention.sliding_window_pattern", name, sizeof name);
    if (gguf_arr(r->g, name, &list) != 0) {
        h->window_period = read_u32(r, "attention.sliding_window_pattern", 1, TN_MOST_LAYERS, 0);
        return;
    }
    h->windows_listed = true;
    for (uint32_t l = 0; l < h->layers; l++) {
        int64_t windowed;
        if (gguf_arr_i64(r->g, name, l, &windowed) != 0) {
            fail(r, -EINVAL, name, "is no list of one number a layer");
            return;
        }
        h->layer_has_window[l] = windowed != 0;
    }
}

static void read_experts(struct reader *r, struct tn_hparams *h)
{
    h->experts = read_u32(r, "expert_count", 0, 4096, 0);
    h->experts_used = read_u32(r, "expert_used_count", 0, h->experts, 0);
    h->expert_feed_forward = read_u32(r, "expert_feed_forward_length", 1, 1u << 20, 0);
    if (h->experts && h->experts_used == 0) {
        fail_own(r, -EINVAL, "expert_used_count", "is missing or 0, but there are experts");
    }
}

// What changes the equations of these architectures in a way that is not built.
static void refuse_variants(struct reader *r)
{
    static const char *const keys[] = {"expert_shared_feed_forward_length", "expert_shared_count",
                                       "nextn_predict_layers"};
    char name[96];
    uint64_t v;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        full_key(r, keys[i], name, sizeof name);
        if (gguf_u64(r->g, name, &v) == 0 && v > 0) {
            fail(r, -ENOTSUP, name, "is not supported");
        }
    }
    full_key(r, "expert_group_count", name, sizeof name);
    if (gguf_u64(r->g, name, &v) == 0 && v > 1) {
        fail(r, -ENOTSUP, name, "is not supported");
    }
}

static void read_vocabulary(struct reader *r, struct tn_hparams *h)
{
    const struct gguf_tensor *tokens = gguf_find(r->g, "token_embd.weight");
    if (!tokens) {
        fail(r, -ENOENT, "token_embd.weight", "tensor is missing");
    } else if (tokens->shape[1] == 0 || tokens->shape[1] > 1u << 24) {
        fail(r, -EINVAL, "token_embd.weight", "has an impossible number of rows");
    } else {
        h->vocabulary = (uint32_t)tokens->shape[1];
    }
}

static void read_heads(struct reader *r, struct tn_hparams *h)
{
    if (h->heads % h->kv_heads != 0) {
        fail_own(r, -EINVAL, "attention.head_count", "is no multiple of attention.head_count_kv");
    }
    h->head_dim = read_u32(r, "attention.key_length", 1, 4096, h->embedding / h->heads);
    uint32_t value_dim = read_u32(r, "attention.value_length", 1, 4096, h->embedding / h->heads);
    if (h->head_dim == 0) {
        fail_own(r, -EINVAL, "attention.head_count", "is more than embedding_length");
    } else if (value_dim != h->head_dim) {
        fail_own(r, -ENOTSUP, "attention.value_length", "differs from attention.key_length");
    }
}

int tn_hparams_read(const struct gguf *g, const struct tn_architecture *a, struct tn_hparams *h,
                    char *error, size_t error_bytes)
{
    struct reader r = {.g = g, .architecture = a->name, .error = error, .error_bytes = error_bytes};
    const uint32_t required = UINT32_MAX;
    *h = (struct tn_hparams){0};
    snprintf(h->architecture, sizeof h->architecture, "%s", a->name);
    h->context = read_u32(&r, "context_length", 1, 1u << 24, required);
    h->embedding = read_u32(&r, "embedding_length", 1, 1u << 18, required);
    h->layers = read_u32(&r, "block_count", 1, TN_MOST_LAYERS, required);
    h->heads = read_u32(&r, "attention.head_count", 1, 4096, required);
    h->kv_heads = read_u32(&r, "attention.head_count_kv", 1, 4096, h->heads);
    h->epsilon = (float)read_f64(&r, a->epsilon, 0, 1, -1);
    read_experts(&r, h);
    h->feed_forward = read_u32(&r, "feed_forward_length", 1, 1u << 20, h->experts ? 0 : required);
    h->attention_softcap = (float)read_f64(&r, "attn_logit_softcapping", 0, 1e6, 0);
    h->logits_softcap = (float)read_f64(&r, "final_logit_softcapping", 0, 1e6, 0);
    h->pooling = (enum ir_pooling)read_u32(&r, "pooling_type", 0, IR_POOL_LAST, IR_POOL_NONE);
    h->token_types = 1;
    uint64_t types;
    if (gguf_u64(g, "tokenizer.ggml.token_type_count", &types) == 0) {
        h->token_types = types > 0 && types <= 4096 ? (uint32_t)types : 1;
    }
    refuse_variants(&r);
    if (!r.result) {
        read_heads(&r, h);
    }
    if (!r.result) {
        read_rope(&r, h);
        read_window(&r, h);
        read_vocabulary(&r, h);
    }
    return r.result;
}
