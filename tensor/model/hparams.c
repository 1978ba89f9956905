// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Hyperparameters out of the GGUF's keys. Every number is bounded before anything is computed with
// it.
#include "tensor/model/model_private.h"

#include "tensor/core/math.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

// An integer in [least, most]; `absent` when the key is missing (UINT32_MAX: it must be there).
static uint32_t read_u32(struct reader *r, const char *key, uint32_t least, uint32_t most,
                         uint32_t absent)
{
    char name[96], what[96];
    uint64_t v;
    full_key(r, key, name, sizeof name);
    int e = gguf_u64(r->g, name, &v);
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

static void read_rope(struct reader *r, struct tn_hparams *h)
{
    char name[96];
    struct gguf_string type;
    h->rope_dimensions = read_u32(r, "rope.dimension_count", 2, h->head_dim, h->head_dim);
    if (h->rope_dimensions % 2 != 0) {
        fail(r, -EINVAL, "rope.dimension_count", "is odd");
    }
    h->rope_base = read_f64(r, "rope.freq_base", 1, 1e12, 10000);
    h->rope_scale = 1;
    full_key(r, "rope.scaling.type", name, sizeof name);
    if (gguf_str(r->g, name, &type) == 0) {
        bool none = type.bytes == 4 && memcmp(type.data, "none", 4) == 0;
        bool linear = type.bytes == 6 && memcmp(type.data, "linear", 6) == 0;
        if (!none && !linear) {
            char what[96];
            snprintf(what, sizeof what, "'%.*s' is not supported (none, linear are)",
                     (int)(type.bytes < 32 ? type.bytes : 32), type.data);
            fail(r, -ENOTSUP, name, what);
        } else if (linear) {
            h->rope_scale = read_f64(r, "rope.scaling.factor", 1e-3, 1e6, 1);
        }
    } else {
        h->rope_scale = read_f64(r, "rope.scale_linear", 1e-3, 1e6, 1); // older files
    }
}

int tn_hparams_read(const struct gguf *g, struct tn_hparams *h, char *error, size_t error_bytes)
{
    struct reader r = {.g = g, .error = error, .error_bytes = error_bytes};
    struct gguf_string name;
    *h = (struct tn_hparams){0};
    if (gguf_str(g, "general.architecture", &name) != 0) {
        fail(&r, -ENOENT, "general.architecture", "key is missing or no string");
        return r.result;
    }
    if (name.bytes == 0 || name.bytes >= sizeof h->architecture) {
        fail(&r, -EINVAL, "general.architecture", "is empty or too long");
        return r.result;
    }
    memcpy(h->architecture, name.data, name.bytes);
    r.architecture = h->architecture;

    const uint32_t required = UINT32_MAX;
    h->context = read_u32(&r, "context_length", 1, 1u << 24, required);
    h->embedding = read_u32(&r, "embedding_length", 1, 1u << 18, required);
    h->layers = read_u32(&r, "block_count", 1, 4096, required);
    h->heads = read_u32(&r, "attention.head_count", 1, 4096, required);
    h->feed_forward = read_u32(&r, "feed_forward_length", 1, 1u << 20, required);
    h->kv_heads = read_u32(&r, "attention.head_count_kv", 1, 4096, h->heads);
    h->experts = read_u32(&r, "expert_count", 0, 65536, 0);
    h->rms_epsilon = (float)read_f64(&r, "attention.layer_norm_rms_epsilon", 0, 1, -1);
    if (r.result) {
        return r.result;
    }
    if (h->heads % h->kv_heads != 0) {
        fail(&r, -EINVAL, "attention.head_count", "is no multiple of attention.head_count_kv");
    }
    h->head_dim = read_u32(&r, "attention.key_length", 1, 4096, h->embedding / h->heads);
    uint32_t value_dim = read_u32(&r, "attention.value_length", 1, 4096, h->head_dim);
    if (h->head_dim == 0) {
        fail(&r, -EINVAL, "attention.head_count", "is more than embedding_length");
    } else if (value_dim != h->head_dim) {
        fail(&r, -ENOTSUP, "attention.value_length", "differs from attention.key_length");
    } else {
        read_rope(&r, h);
    }
    const struct gguf_tensor *tokens = gguf_find(g, "token_embd.weight");
    if (!tokens) {
        fail(&r, -ENOENT, "token_embd.weight", "tensor is missing");
    } else if (tokens->shape[1] == 0 || tokens->shape[1] > 1u << 24) {
        fail(&r, -EINVAL, "token_embd.weight", "has an impossible number of rows");
    } else {
        h->vocabulary = (uint32_t)tokens->shape[1];
    }
    return r.result;
}

void tn_rope_prepare(struct ir_graph *g, const struct tn_hparams *h, bool split_halves)
{
    uint32_t pairs = h->rope_dimensions / 2;
    const float *slower = ir_vector_optional(g, pairs, "rope_freqs.weight");
    g->rope_frequency = calloc(pairs, sizeof *g->rope_frequency);
    if (!g->rope_frequency) {
        ir_fail(g, -ENOMEM, "no memory for rope frequencies");
        return;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        double f = tn_pow(h->rope_base, -2.0 * i / h->rope_dimensions) / h->rope_scale;
        g->rope_frequency[i] = slower ? f / (double)slower[i] : f;
        // A position times a frequency must stay an angle that can be reduced.
        if (!(g->rope_frequency[i] >= 0 && g->rope_frequency[i] <= 1e6)) {
            ir_fail(g, -EINVAL, "rope_freqs.weight: value %u is no usable factor", i);
            return;
        }
    }
    g->rope = (struct ir_rope){.split_halves = split_halves,
                               .rotated = h->rope_dimensions,
                               .frequency = g->rope_frequency};
}
