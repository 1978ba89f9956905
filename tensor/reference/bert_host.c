// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// BERT: an encoder whose layers norm after each branch, and the pooling of its rows.
#include "tensor/reference/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_MEAN = 1, POOL_FIRST = 2, POOL_LAST = 3 };

static void add(uint32_t n, double *x, const double *y)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void layer(const struct reference *r, uint32_t l, uint32_t count, double *x)
{
    const uint32_t n = r->n, ff = r->feed_forward;
    double *q = malloc((size_t)4 * count * n * sizeof *q), *k = q + (size_t)count * n;
    double *v = k + (size_t)count * n, *o = v + (size_t)count * n;
    double *y = malloc(n * sizeof *y), *f = malloc(ff * sizeof *f);
    struct reference_attention attention = {.scale = 1 / sqrt(r->dim), .everywhere = true};
    char name[64];
#define NAME(what) (snprintf(name, sizeof name, "blk.%u." what, l), name)
    for (uint32_t p = 0; p < count; p++) {
        reference_product(r, NAME("attn_q"), 0, n, x + p * n, q + p * n);
        reference_product(r, NAME("attn_k"), 0, n, x + p * n, k + p * n);
        reference_product(r, NAME("attn_v"), 0, n, x + p * n, v + p * n);
    }
    reference_attend(r, &attention, count, q, k, v, o);
    for (uint32_t p = 0; p < count; p++) {
        reference_product(r, NAME("attn_output"), 0, n, o + p * n, y);
        add(n, x + p * n, y);
        reference_layer_norm(r, NAME("attn_output_norm"), x + p * n);
        reference_product(r, NAME("ffn_up"), 0, ff, x + p * n, f);
        for (uint32_t i = 0; i < ff; i++) {
            f[i] = reference_gelu(f[i]);
        }
        reference_product(r, NAME("ffn_down"), 0, n, f, y);
        add(n, x + p * n, y);
        reference_layer_norm(r, NAME("layer_output_norm"), x + p * n);
    }
    free(f);
    free(y);
    free(q);
}

static void pool(const struct reference *r, uint32_t count, const double *x, double *embedding)
{
    double kind = reference_number(r, "pooling_type", 0);
    uint32_t from = kind > POOL_MEAN && kind <= POOL_FIRST ? 0 : count - 1, to = from + 1;
    if (kind <= POOL_MEAN) {
        from = 0;
        to = count;
    }
    memset(embedding, 0, r->n * sizeof *embedding);
    for (uint32_t p = from; p < to; p++) {
        for (uint32_t i = 0; i < r->n; i++) {
            embedding[i] += x[(size_t)p * r->n + i] / (to - from);
        }
    }
}

bool reference_embedding(const struct gguf *g, const int32_t *tokens, uint32_t count,
                         double *embedding)
{
    struct reference r;
    reference_open(&r, g, 0);
    if (strcmp(r.architecture, "bert") != 0) {
        return false;
    }
    const uint32_t n = r.n;
    double *x = malloc((size_t)count * n * sizeof *x), *y = malloc(n * sizeof *y);
    for (uint32_t p = 0; p < count; p++) {
        reference_row(&r, "token_embd.weight", (uint64_t)tokens[p], x + p * n);
        if (reference_has(&r, "token_types.weight")) {
            reference_row(&r, "token_types.weight", 0, y);
            add(n, x + p * n, y);
        }
        reference_row(&r, "position_embd.weight", p, y);
        add(n, x + p * n, y);
        reference_layer_norm(&r, "token_embd_norm", x + p * n);
    }
    for (uint32_t l = 0; l < r.layers; l++) {
        layer(&r, l, count, x);
    }
    pool(&r, count, x, embedding);
    free(y);
    free(x);
    return true;
}
