// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Blocks of 32 with their own half-precision scale: Q8_0, Q4_0, Q5_0 (a scale), Q4_1, Q5_1 (a scale
// and a minimum). Value j < 16 lies in the low half of byte j, value j + 16 in its high half.
#include "tensor/quant/quant_private.h"

enum { N = 32, STEPS = 16, FINE_STEPS = 10 }; // the finer the levels, the less a search gains

static void store_nibbles(uint8_t *out, const uint8_t *q)
{
    for (int j = 0; j < 16; j++)
        out[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void store_fifth_bits(uint8_t *out, const uint8_t *q)
{
    uint32_t bits = 0;
    for (int j = 0; j < N; j++)
        bits |= (uint32_t)(q[j] >> 4 & 1) << j;
    for (int j = 0; j < 4; j++)
        out[j] = (uint8_t)(bits >> 8 * j);
}

// `fifth`: 4 bytes of fifth bits, or NULL.
static void load(const uint8_t *nibbles, const uint8_t *fifth, uint8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = nibbles[j] & 15;
        q[j + 16] = nibbles[j] >> 4;
    }
    for (int j = 0; fifth && j < N; j++)
        q[j] = (uint8_t)(q[j] | (fifth[j / 8] >> j % 8 & 1) << 4);
}

// The best scale as half precision holds it, and the values under it.
static int fit_stored(const float *x, int low, int high, uint8_t *scale, int8_t *q)
{
    int rc = 0;
    float d = quant_store_half(
        scale, quant_fit_scale(x, N, low, high, high > 100 ? FINE_STEPS : STEPS), &rc);
    quant_apply_scale(x, N, d, low, high, q);
    return rc;
}

static int encode_q8_0(const float *x, uint8_t *out)
{
    return fit_stored(x, -127, 127, out, (int8_t *)(out + 2));
}
static void decode_q8_0(const uint8_t *in, float *x)
{
    float d = quant_load_half(in);
    for (int j = 0; j < N; j++)
        x[j] = d * (float)(int8_t)in[2 + j];
}

static int encode_q4_0(const float *x, uint8_t *out)
{
    int8_t q[N];
    uint8_t raised[N];
    int rc = fit_stored(x, -8, 7, out, q);
    for (int j = 0; j < N; j++)
        raised[j] = (uint8_t)(q[j] + 8);
    store_nibbles(out + 2, raised);
    return rc;
}
static void decode_q4_0(const uint8_t *in, float *x)
{
    float d = quant_load_half(in);
    uint8_t q[N];
    load(in + 2, NULL, q);
    for (int j = 0; j < N; j++)
        x[j] = d * (float)(q[j] - 8);
}

static int encode_q5_0(const float *x, uint8_t *out)
{
    int8_t q[N];
    uint8_t raised[N];
    int rc = fit_stored(x, -16, 15, out, q);
    for (int j = 0; j < N; j++)
        raised[j] = (uint8_t)(q[j] + 16);
    store_fifth_bits(out + 2, raised);
    store_nibbles(out + 6, raised);
    return rc;
}
static void decode_q5_0(const uint8_t *in, float *x)
{
    float d = quant_load_half(in);
    uint8_t q[N];
    load(in + 6, in + 2, q);
    for (int j = 0; j < N; j++)
        x[j] = d * (float)(q[j] - 16);
}

static int fit_line_stored(const float *x, int high, uint8_t *out, uint8_t *q)
{
    int rc = 0;
    struct quant_line line = quant_fit_line(x, N, high, false, STEPS);
    line.d = quant_store_half(out, line.d, &rc);
    line.m = quant_store_half(out + 2, line.m, &rc);
    quant_apply_line(x, N, line, high, q);
    return rc;
}

static int encode_q4_1(const float *x, uint8_t *out)
{
    uint8_t q[N];
    int rc = fit_line_stored(x, 15, out, q);
    store_nibbles(out + 4, q);
    return rc;
}
static void decode_q4_1(const uint8_t *in, float *x)
{
    float d = quant_load_half(in), m = quant_load_half(in + 2);
    uint8_t q[N];
    load(in + 4, NULL, q);
    for (int j = 0; j < N; j++)
        x[j] = d * (float)q[j] + m;
}

static int encode_q5_1(const float *x, uint8_t *out)
{
    uint8_t q[N];
    int rc = fit_line_stored(x, 31, out, q);
    store_fifth_bits(out + 4, q);
    store_nibbles(out + 8, q);
    return rc;
}
static void decode_q5_1(const uint8_t *in, float *x)
{
    float d = quant_load_half(in), m = quant_load_half(in + 2);
    uint8_t q[N];
    load(in + 8, in + 4, q);
    for (int j = 0; j < N; j++)
        x[j] = d * (float)q[j] + m;
}

const struct quant_codec quant_q8_0 = {encode_q8_0, decode_q8_0};
const struct quant_codec quant_q4_0 = {encode_q4_0, decode_q4_0};
const struct quant_codec quant_q5_0 = {encode_q5_0, decode_q5_0};
const struct quant_codec quant_q4_1 = {encode_q4_1, decode_q4_1};
const struct quant_codec quant_q5_1 = {encode_q5_1, decode_q5_1};
