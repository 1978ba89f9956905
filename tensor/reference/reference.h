// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Every architecture once more, in double precision and plain loops straight from its equations:
// what tests hold the engine against. It shares nothing with the engine but the GGUF reader and the
// decoders of block types, and it trusts its files.
#ifndef TENSOR_REFERENCE_H
#define TENSOR_REFERENCE_H

#include "tensor/gguf.h"

#include <stdbool.h>

struct reference {
    const struct gguf *g;
    char architecture[32];
    uint32_t n, layers, heads, kv_heads, dim, feed_forward, vocabulary;
    double epsilon;
    uint32_t context; // positions that the run is configured for (longrope)
};

// logits[count][vocabulary] of every position. False: an architecture it does not know.
bool reference_logits(const struct gguf *g, const int32_t *tokens, uint32_t count, uint32_t context,
                      double *logits);
// The pooled embedding [n] of a text (bert).
bool reference_embedding(const struct gguf *g, const int32_t *tokens, uint32_t count,
                         double *embedding);

// ---- parts (parts_host.c) ----------------------------------------------------------------------

void reference_open(struct reference *r, const struct gguf *g, uint32_t context);
// A number under "<architecture>.key".
double reference_number(const struct reference *r, const char *key, double absent);
bool reference_has(const struct reference *r, const char *tensor);
// Row `row` of a tensor as doubles.
void reference_row(const struct reference *r, const char *tensor, uint64_t row, double *out);
// y = W x + b for rows [first, first + rows) of tensor NAME.weight, with NAME.bias if it exists.
void reference_product(const struct reference *r, const char *name, uint64_t first, uint64_t rows,
                       const double *x, double *y);
// In place, each of `parts` equal parts of x by itself.
void reference_rms_norm(const struct reference *r, const char *name, uint32_t parts, double *x,
                        uint32_t length);
void reference_layer_norm(const struct reference *r, const char *name, double *x);
double reference_silu(double x);
double reference_gelu(double x);

struct reference_rope {
    bool halves;
    double base, factor, magnitude;
    bool yarn;
    const char *divisors; // tensor of one factor a pair, or NULL
};
void reference_turn(const struct reference *r, const struct reference_rope *rope, double *x,
                    uint32_t heads, uint32_t position);

struct reference_attention {
    double scale, softcap;
    uint32_t window;
    bool everywhere;
    const double *sinks; // NULL: none
};
// out[count][heads * dim] from q, k and v of all positions.
void reference_attend(const struct reference *r, const struct reference_attention *a,
                      uint32_t count, const double *q, const double *k, const double *v,
                      double *out);

#endif
