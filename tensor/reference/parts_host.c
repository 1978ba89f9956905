// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the equations are made of.
#include "tensor/reference/reference.h"

#include "tensor/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct gguf_tensor *tensor(const struct reference *r, const char *name)
{
    const struct gguf_tensor *t = gguf_find(r->g, name);
    if (!t) {
        fprintf(stderr, "reference: no tensor %s\n", name);
        abort();
    }
    return t;
}

void reference_row(const struct reference *r, const char *name, uint64_t row, double *out)
{
    const struct gguf_tensor *t = tensor(r, name);
    const uint8_t *data = (const uint8_t *)t->data + row * tn_row_bytes(t->type, t->shape[0]);
    float *x = malloc(t->shape[0] * sizeof *x);
    if (!x || tn_quant_decode(t->type, data, t->shape[0], x) != 0) {
        abort();
    }
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        out[i] = (double)x[i];
    }
    free(x);
}

bool reference_has(const struct reference *r, const char *name)
{
    return gguf_find(r->g, name) != NULL;
}

double reference_number(const struct reference *r, const char *key, double absent)
{
    char name[96];
    double v;
    snprintf(name, sizeof name, "%s.%s", r->architecture, key);
    return gguf_f64(r->g, name, &v) == 0 ? v : absent;
}

void reference_open(struct reference *r, const struct gguf *g, uint32_t context)
{
    struct gguf_string name = {0};
    *r = (struct reference){.g = g};
    if (gguf_str(g, "general.architecture", &name) == 0 && name.bytes < sizeof r->architecture) {
        memcpy(r->architecture, name.data, name.bytes);
    }
    r->n = (uint32_t)reference_number(r, "embedding_length", 0);
    r->layers = (uint32_t)reference_number(r, "block_count", 0);
    r->heads = (uint32_t)reference_number(r, "attention.head_count", 0);
    r->kv_heads = (uint32_t)reference_number(r, "attention.head_count_kv", r->heads);
    r->dim = (uint32_t)reference_number(r, "attention.key_length", r->n / r->heads);
    r->feed_forward = (uint32_t)reference_number(r, "feed_forward_length", 0);
    r->epsilon = reference_number(r, "attention.layer_norm_rms_epsilon",
                                  reference_number(r, "attention.layer_norm_epsilon", 0));
    r->vocabulary = (uint32_t)tensor(r, "token_embd.weight")->shape[1];
    uint32_t most = (uint32_t)reference_number(r, "context_length", 0);
    r->context = context && context < most ? context : most;
}

void reference_product(const struct reference *r, const char *name, uint64_t first, uint64_t rows,
                       const double *x, double *y)
{
    char weight[96], bias[96];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const struct gguf_tensor *t = tensor(r, weight), *b = gguf_find(r->g, bias);
    double *w = malloc(t->shape[0] * sizeof *w);
    for (uint64_t i = 0; i < rows; i++) {
        reference_row(r, weight, first + i, w);
        y[i] = b ? (double)((const float *)b->data)[first + i] : 0;
        for (uint64_t k = 0; k < t->shape[0]; k++) {
            y[i] += w[k] * x[k];
        }
    }
    free(w);
}

void reference_rms_norm(const struct reference *r, const char *name, uint32_t parts, double *x,
                        uint32_t length)
{
    const float *w = tensor(r, name)->data;
    for (uint32_t p = 0; p < parts; p++, x += length) {
        double squares = 0;
        for (uint32_t i = 0; i < length; i++) {
            squares += x[i] * x[i];
        }
        for (uint32_t i = 0; i < length; i++) {
            x[i] = x[i] / sqrt(squares / length + r->epsilon) * (double)w[i];
        }
    }
}

void reference_layer_norm(const struct reference *r, const char *name, double *x)
{
    char weight[96], bias[96];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const float *w = tensor(r, weight)->data, *b = tensor(r, bias)->data;
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        mean += x[i] / r->n;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    for (uint32_t i = 0; i < r->n; i++) {
        x[i] = (x[i] - mean) / sqrt(squares / r->n + r->epsilon) * (double)w[i] + (double)b[i];
    }
}

double reference_silu(double x)
{
    return x / (1 + exp(-x));
}

double reference_gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

// ---- positions ---------------------------------------------------------------------------------

// Radians a position of pair i of d/2. YaRN (Peng et al. 2023, section 3.2): pairs that turn more
// than 32 times within the original context keep their frequency, those that turn less than once
// are slowed by the factor, and between them it is blended.
static double frequency(const struct reference *r, const struct reference_rope *rope, uint32_t i,
                        uint32_t d, double divisor)
{
    double f = pow(rope->base, -2.0 * i / d) / divisor;
    if (!rope->yarn) {
        return f / rope->factor;
    }
    double original = reference_number(r, "rope.scaling.original_context_length",
                                       reference_number(r, "context_length", 0));
    double tau = 2 * acos(-1);
    double fast = floor(d * log(original / (32 * tau)) / (2 * log(rope->base)));
    double slow = ceil(d * log(original / tau) / (2 * log(rope->base)));
    fast = fmax(fast, 0);
    slow = fmin(slow, d - 1);
    double blend = fmin(1, fmax(0, (i - fast) / fmax(slow - fast, 0.001)));
    return f * (1 - blend) + f / rope->factor * blend;
}

void reference_turn(const struct reference *r, const struct reference_rope *rope, double *x,
                    uint32_t heads, uint32_t position)
{
    uint32_t d = (uint32_t)reference_number(r, "rope.dimension_count", r->dim);
    double *divisor = malloc(d / 2 * sizeof *divisor);
    for (uint32_t i = 0; i < d / 2; i++) {
        divisor[i] = 1;
    }
    if (rope->divisors) {
        reference_row(r, rope->divisors, 0, divisor);
    }
    for (uint32_t h = 0; h < heads; h++, x += r->dim) {
        for (uint32_t i = 0; i < d / 2; i++) {
            double angle = position * frequency(r, rope, i, d, divisor[i]);
            double c = cos(angle) * rope->magnitude, s = sin(angle) * rope->magnitude;
            double *a = rope->halves ? x + i : x + 2 * i, *b = rope->halves ? x + i + d / 2 : a + 1;
            double p = *a, q = *b;
            *a = p * c - q * s;
            *b = p * s + q * c;
        }
    }
    free(divisor);
}

// ---- attention ---------------------------------------------------------------------------------

static void attend_one(const struct reference *r, const struct reference_attention *a,
                       uint32_t count, uint32_t position, uint32_t head, const double *q,
                       const double *k, const double *v, double *out)
{
    uint32_t group = r->heads / r->kv_heads, width = r->kv_heads * r->dim;
    uint32_t from = a->window && position >= a->window ? position - a->window + 1 : 0;
    uint32_t to = a->everywhere ? count : position + 1;
    double *score = malloc(count * sizeof *score), most = a->sinks ? a->sinks[head] : -INFINITY;
    for (uint32_t p = from; p < to; p++) {
        score[p] = 0;
        for (uint32_t i = 0; i < r->dim; i++) {
            score[p] += q[i] * k[p * width + head / group * r->dim + i];
        }
        score[p] *= a->scale;
        score[p] = a->softcap > 0 ? a->softcap * tanh(score[p] / a->softcap) : score[p];
        most = fmax(most, score[p]);
    }
    double sum = a->sinks ? exp(a->sinks[head] - most) : 0;
    for (uint32_t p = from; p < to; p++) {
        sum += exp(score[p] - most);
    }
    for (uint32_t i = 0; i < r->dim; i++) {
        out[i] = 0;
        for (uint32_t p = from; p < to; p++) {
            out[i] += exp(score[p] - most) / sum * v[p * width + head / group * r->dim + i];
        }
    }
    free(score);
}

void reference_attend(const struct reference *r, const struct reference_attention *a,
                      uint32_t count, const double *q, const double *k, const double *v,
                      double *out)
{
    for (uint32_t p = 0; p < count; p++) {
        for (uint32_t h = 0; h < r->heads; h++) {
            size_t at = ((size_t)p * r->heads + h) * r->dim;
            attend_one(r, a, count, p, h, q + at, k, v, out + at);
        }
    }
}
