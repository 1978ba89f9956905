/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The row-wise operations of a llama network, written as plain loops that the compiler turns into
 * vectors for each ISA level.
 */
#include "tensor/train/ops.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#define MANY_LEVELS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MANY_LEVELS
#endif

/* Sums keep this many partial sums, so that their order is the same at every vector width. */
enum { PARTS = 16 };

static inline __attribute__((always_inline)) float add_parts(const float *parts)
{
    float sum = 0;

    for (int i = 0; i < PARTS; i++)
        sum += parts[i];
    return sum;
}

static inline __attribute__((always_inline)) float dot(size_t count, const float *x, const float *y)
{
    float parts[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= count; i += PARTS) {
        for (int j = 0; j < PARTS; j++)
            parts[j] += x[i + (size_t)j] * y[i + (size_t)j];
    }
    for (size_t j = 0; i < count; i++, j++)
        parts[j] += x[i] * y[i];
    return add_parts(parts);
}

static inline __attribute__((always_inline)) float total(size_t count, const float *x)
{
    float parts[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= count; i += PARTS) {
        for (size_t j = 0; j < PARTS; j++)
            parts[j] += x[i + j];
    }
    for (size_t j = 0; i < count; i++, j++)
        parts[j] += x[i];
    return add_parts(parts);
}

static inline __attribute__((always_inline)) float maximum(size_t count, const float *x)
{
    float parts[PARTS], largest = x[0];
    size_t i = 0;

    for (size_t j = 0; j < PARTS; j++)
        parts[j] = x[0];
    for (; i + PARTS <= count; i += PARTS) {
        for (size_t j = 0; j < PARTS; j++)
            parts[j] = x[i + j] > parts[j] ? x[i + j] : parts[j];
    }
    for (; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (size_t j = 0; j < PARTS; j++)
        largest = parts[j] > largest ? parts[j] : largest;
    return largest;
}

/* e^x within two units in the last place; below -87 it is 0 to within the smallest normal. */
static inline __attribute__((always_inline)) float quick_exp(float x)
{
    float clipped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float whole = clipped > -88.0f ? clipped : 0; /* NaN, which comes back in by way of rest */
    float rest, power;
    int32_t bits;

    whole = whole * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds */
    whole -= 12582912.0f;
    rest = clipped - whole * 0.693145752f - whole * 1.42860677e-6f;
    power = 1.0f + rest * (1.0f + rest * (0.5f + rest * (0.166666657f +
                                                         rest * (0.0416657962f +
                                                                 rest * (0.00833345205f +
                                                                         rest * 0.00139346858f)))));
    bits = ((int32_t)whole + 127) << 23;
    memcpy(&rest, &bits, sizeof rest);
    return power * rest;
}

MANY_LEVELS void train_rmsnorm(size_t rows, size_t width, const float *x, const float *gain,
                               float epsilon, float *out, float *inverse)
{
    for (size_t i = 0; i < rows; i++, x += width, out += width) {
        const float scale = 1.0f / sqrtf(dot(width, x, x) / (float)width + epsilon);

        inverse[i] = scale;
        for (size_t j = 0; j < width; j++)
            out[j] = x[j] * scale * gain[j];
    }
}

MANY_LEVELS void train_rmsnorm_back(size_t rows, size_t width, const float *x, const float *gain,
                                    const float *inverse, const float *d_out, float *d_x,
                                    float *d_gain)
{
    for (size_t i = 0; i < rows; i++, x += width, d_out += width, d_x += width) {
        const float scale = inverse[i];
        float parts[PARTS] = {0}, along;
        size_t j = 0;

        for (; j + PARTS <= width; j += PARTS) {
            for (size_t p = 0; p < PARTS; p++)
                parts[p] += d_out[j + p] * gain[j + p] * x[j + p];
        }
        for (size_t p = 0; j < width; j++, p++)
            parts[p] += d_out[j] * gain[j] * x[j];
        along = add_parts(parts) * scale * scale * scale / (float)width;
        for (j = 0; j < width; j++) {
            d_gain[j] += d_out[j] * x[j] * scale;
            d_x[j] += d_out[j] * gain[j] * scale - along * x[j];
        }
    }
}

MANY_LEVELS void train_rope(size_t rows, size_t heads, size_t head_width, const uint32_t *positions,
                            const float *table, float sign, float *x)
{
    for (size_t i = 0; i < rows; i++) {
        const float *turn = table + positions[i] * head_width;

        for (size_t h = 0; h < heads; h++, x += head_width) {
            for (size_t j = 0; j < head_width; j += 2) {
                const float cosine = turn[j], sine = sign * turn[j + 1];
                const float a = x[j], b = x[j + 1];

                x[j] = a * cosine - b * sine;
                x[j + 1] = a * sine + b * cosine;
            }
        }
    }
}

MANY_LEVELS void train_swiglu(size_t count, const float *gate, const float *up, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = gate[i] / (1.0f + quick_exp(-gate[i])) * up[i];
}

MANY_LEVELS void train_swiglu_back(size_t count, const float *gate, const float *up,
                                   const float *d_out, float *d_gate, float *d_up)
{
    for (size_t i = 0; i < count; i++) {
        const float sigmoid = 1.0f / (1.0f + quick_exp(-gate[i]));

        d_up[i] = d_out[i] * gate[i] * sigmoid;
        d_gate[i] = d_out[i] * up[i] * sigmoid * (1.0f + gate[i] * (1.0f - sigmoid));
    }
}

MANY_LEVELS void train_softmax_causal(size_t rows, size_t first, float scale, float *scores)
{
    const size_t width = first + rows;

    for (size_t count = first + 1; count <= width; count++, scores += width) {
        const float largest = maximum(count, scores);
        float sum;

        for (size_t j = 0; j < count; j++)
            scores[j] = quick_exp((scores[j] - largest) * scale);
        sum = 1.0f / total(count, scores);
        for (size_t j = 0; j < count; j++)
            scores[j] *= sum;
        memset(scores + count, 0, (width - count) * sizeof *scores);
    }
}

MANY_LEVELS void train_softmax_causal_back(size_t rows, size_t first, float scale,
                                           const float *probabilities, float *d)
{
    const size_t width = first + rows;

    for (size_t count = first + 1; count <= width; count++, probabilities += width, d += width) {
        const float along = dot(count, probabilities, d);

        for (size_t j = 0; j < count; j++)
            d[j] = probabilities[j] * (d[j] - along) * scale;
        memset(d + count, 0, (width - count) * sizeof *d);
    }
}

MANY_LEVELS float train_cross_entropy(size_t width, uint32_t target, float scale, float *logits,
                                      uint32_t *best)
{
    const float wanted = logits[target];
    float sum, largest;
    size_t top = 0;

    for (size_t i = 1; i < width; i++) {
        if (logits[i] > logits[top])
            top = i;
    }
    largest = logits[top];
    for (size_t i = 0; i < width; i++)
        logits[i] = quick_exp(logits[i] - largest);
    sum = total(width, logits);
    for (size_t i = 0; i < width; i++)
        logits[i] *= scale / sum;
    logits[target] -= scale;
    *best = (uint32_t)top;
    return logf(sum) + largest - wanted;
}

MANY_LEVELS void train_add(size_t count, const float *y, float *x)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

double train_sum_squares(size_t count, const float *x)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

MANY_LEVELS void train_adamw(size_t count, const struct train_adam *adam, const float *gradient,
                             float *m, float *v, float *parameters)
{
    const struct train_adam a = *adam;

    for (size_t i = 0; i < count; i++) {
        const float g = gradient[i] * a.clip;

        m[i] = a.beta1 * m[i] + (1.0f - a.beta1) * g;
        v[i] = a.beta2 * v[i] + (1.0f - a.beta2) * g * g;
        parameters[i] -=
            a.rate * (m[i] / a.correction1 / (sqrtf(v[i] / a.correction2) + a.epsilon) +
                      a.decay * parameters[i]);
    }
}
