// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Four bits that index a table of levels: IQ4_NL (blocks of 32), IQ4_XS (super-blocks of 256 with
// six-bit scales for runs of 32), MXFP4 (OCP Microscaling 1.0: FP4 E2M1 with a power of two a
// block).
#include "tensor/quant/quant_private.h"

enum { N = 32, STEPS = 14, RUNS = 8 };

static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
// Twice the levels of FP4; the sign is bit 3.
static const int8_t fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// The nearest level of v, by 2v + 256 rounded down: borders lie half-way between levels.
static const uint8_t nearest_level[512] = {
    [0 ... 24] = 0,     [25 ... 68] = 1,    [69 ... 107] = 2,   [108 ... 141] = 3,
    [142 ... 171] = 4,  [172 ... 198] = 5,  [199 ... 223] = 6,  [224 ... 246] = 7,
    [247 ... 269] = 8,  [270 ... 293] = 9,  [294 ... 318] = 10, [319 ... 346] = 11,
    [347 ... 377] = 12, [378 ... 413] = 13, [414 ... 457] = 14, [458 ... 511] = 15};

static unsigned nearest(float v)
{
    return nearest_level[(int)(2 * quant_clamp(v, -127, 127) + 256)];
}

static float apply(const float *x, float d, uint8_t *q)
{
    float inverse = d != 0 ? 1.0f / d : 0, error = 0;
    inverse = inverse - inverse == 0 ? inverse : 0;
    for (int i = 0; i < N; i++) {
        q[i] = (uint8_t)nearest(x[i] * inverse);
        float e = x[i] - d * (float)levels[q[i]];
        error += e * e;
    }
    return error;
}

static float explained(const float *x, float inverse, float *d)
{
    float xq = 0, qq = 0;
    for (int i = 0; i < N; i++) {
        float v = levels[nearest(x[i] * inverse)];
        xq += x[i] * v;
        qq += v * v;
    }
    *d = xq / qq; // no level is 0
    return *d * xq;
}

static float fit(const float *x)
{
    float most = 0, best = -1, d = 0, candidate;
    for (int i = 0; i < N; i++) {
        float magnitude = x[i] < 0 ? -x[i] : x[i];
        most = magnitude > most ? magnitude : most;
    }
    if (most < QUANT_TINY)
        return 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
        for (int s = 0; s < STEPS; s++) {
            float reach = 100.0f + 50.0f * ((float)s + 0.5f) / STEPS;
            float gain = explained(x, reach * (float)sign / most, &candidate);
            if (gain > best) {
                best = gain;
                d = candidate;
            }
        }
    }
    for (int i = 0; i < 2 && d != 0; i++) {
        float gain = explained(x, 1.0f / d, &candidate);
        if (!(gain > best))
            break;
        best = gain;
        d = candidate;
    }
    return d;
}

static void store_nibbles(uint8_t *out, const uint8_t *q)
{
    for (int j = 0; j < 16; j++)
        out[j] = (uint8_t)(q[j] | q[j + 16] << 4);
}

static int encode_iq4_nl(const float *x, uint8_t *out)
{
    int rc = 0;
    uint8_t q[N];
    float d = quant_store_half(out, fit(x), &rc);
    apply(x, d, q);
    store_nibbles(out + 2, q);
    return rc;
}
static void decode_iq4_nl(const uint8_t *in, float *x)
{
    float d = quant_load_half(in);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)levels[in[2 + j] & 15];
        x[j + 16] = d * (float)levels[in[2 + j] >> 4];
    }
}

// Whole scales of eight runs near what they want, for a given factor; returns the squared error.
static float choose(const float *x, const float *wanted, float d, int8_t *scale, uint8_t (*q)[N])
{
    float total = 0;
    for (int r = 0; r < RUNS; r++) {
        float best = -1;
        int around = d != 0 ? (int)quant_round(quant_clamp(wanted[r] / d, -32, 31)) : 0;
        for (int s = around > -32 ? around - 1 : -32; s <= around + 1 && s <= 31; s++) {
            uint8_t tried[N];
            float error = apply(x + r * N, d * (float)s, tried);
            if (best < 0 || error < best) {
                best = error;
                scale[r] = (int8_t)s;
                memcpy(q[r], tried, N);
            }
        }
        total += best;
    }
    return total;
}

// IQ4_XS: d, u16 high bits of scale + 32 (two a run), scales_l[4] (four low bits), qs[128].
static int encode_iq4_xs(const float *x, uint8_t *out)
{
    float wanted[RUNS], largest = 0;
    int8_t scale[RUNS], other_scale[RUNS];
    uint8_t q[RUNS][N], other_q[RUNS][N];
    int rc = 0;
    for (int r = 0; r < RUNS; r++) {
        wanted[r] = fit(x + r * N);
        if (wanted[r] * wanted[r] > largest * largest)
            largest = wanted[r];
    }
    float d = quant_store_half(out, largest / -32, &rc);
    float error = choose(x, wanted, d, scale, q), xa = 0, aa = 0;
    for (int i = 0; i < RUNS * N; i++) {
        float a = (float)(scale[i / N] * levels[q[i / N][i % N]]);
        xa += x[i] * a;
        aa += a * a;
    }
    uint8_t stored[2];
    d = quant_store_half(stored, aa > 0 ? xa / aa : 0, &rc);
    if (choose(x, wanted, d, other_scale, other_q) < error) {
        memcpy(out, stored, 2);
        memcpy(scale, other_scale, sizeof scale);
        memcpy(q, other_q, sizeof q);
    }
    memset(out + 2, 0, 6);
    for (int r = 0; r < RUNS; r++) {
        unsigned v = (unsigned)(scale[r] + 32);
        out[2 + r / 4] |= (uint8_t)((v >> 4) << r % 4 * 2);
        out[4 + r / 2] |= (uint8_t)((v & 15) << r % 2 * 4);
        store_nibbles(out + 8 + r * 16, q[r]);
    }
    return rc;
}
static void decode_iq4_xs(const uint8_t *in, float *x)
{
    float d = quant_load_half(in);
    for (int r = 0; r < RUNS; r++) {
        int scale = (in[4 + r / 2] >> r % 2 * 4 & 15) | (in[2 + r / 4] >> r % 4 * 2 & 3) << 4;
        float each = d * (float)(scale - 32);
        for (int j = 0; j < 16; j++) {
            x[r * N + j] = each * (float)levels[in[8 + r * 16 + j] & 15];
            x[r * N + 16 + j] = each * (float)levels[in[8 + r * 16 + j] >> 4];
        }
    }
}

// ---- MXFP4 --------------------------------------------------------------------------------------

// 2^(e - 128), for levels that are twice what they mean.
static float fp4_scale(unsigned e)
{
    return e < 2 ? tn_bits_float(0x00200000u << e) : tn_bits_float((e - 1) << 23);
}

static float fp4_apply(const float *x, unsigned e, uint8_t *q)
{
    float d = fp4_scale(e), error = 0;
    for (int i = 0; i < N; i++) {
        float v = x[i] / d, magnitude = v < 0 ? -v : v;
        unsigned at = 0;
        while (at < 7 && 2 * magnitude > (float)(fp4[at] + fp4[at + 1]))
            at++;
        q[i] = (uint8_t)(at | (v < 0 ? 8u : 0u));
        float miss = magnitude - (float)fp4[at];
        error += miss * miss;
    }
    return error;
}

static int encode_mxfp4(const float *x, uint8_t *out)
{
    uint32_t most = 0;
    for (int i = 0; i < N; i++) {
        uint32_t bits = tn_float_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    // With the exponent of the largest value less 2 (of 6 = 1.5 * 2^2), or one more.
    unsigned e = most >> 23 > 2 ? (most >> 23) - 2 : 0;
    uint8_t q[N], other[N];
    float error = fp4_apply(x, e, q), double_step = fp4_apply(x, e + 1, other);
    if (4 * double_step < error) {
        e++;
        memcpy(q, other, sizeof q);
    }
    out[0] = (uint8_t)e;
    store_nibbles(out + 1, q);
    return 0;
}
static void decode_mxfp4(const uint8_t *in, float *x)
{
    float d = fp4_scale(in[0]);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)fp4[in[1 + j] & 15];
        x[j + 16] = d * (float)fp4[in[1 + j] >> 4];
    }
}

const struct quant_codec quant_iq4_nl = {encode_iq4_nl, decode_iq4_nl};
const struct quant_codec quant_iq4_xs = {encode_iq4_xs, decode_iq4_xs};
const struct quant_codec quant_mxfp4 = {encode_mxfp4, decode_mxfp4};
