// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Q2_K, Q4_K and Q5_K: super-blocks of 256 with scales and minima; value = d * scale * q - dmin *
// minimum. Q2_K has runs of 16 with four-bit scales, the others runs of 32 with six-bit scales.
#include "tensor/quant/superblock.h"

// Q2_K: scales[16] (scale in the low nibble, minimum in the high one), qs[64], d, dmin.
static int encode_q2_k(const float *x, uint8_t *out)
{
    static const struct quant_line_rules rules = {16, 15, 3};
    struct quant_line_super s;
    int rc = quant_line_super(x, &rules, &s);
    memset(out, 0, 84);
    for (unsigned r = 0; r < 16; r++)
        out[r] = (uint8_t)(s.scale[r] | s.minimum[r] << 4);
    for (unsigned i = 0; i < QUANT_SUPER; i++)
        out[16 + i / 128 * 32 + i % 32] |= (uint8_t)(s.q[i] << i % 128 / 32 * 2);
    quant_store_half(out + 80, s.d, &rc);
    quant_store_half(out + 82, s.minimum_d, &rc);
    return rc;
}

static void decode_q2_k(const uint8_t *in, float *x)
{
    float d = quant_load_half(in + 80), minimum_d = quant_load_half(in + 82);
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        int q = in[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        x[i] = d * (float)(in[i / 16] & 15) * (float)q - minimum_d * (float)(in[i / 16] >> 4);
    }
}

// Twelve bytes: six bits each of eight scales and eight minima. The first four of both lie whole in
// bytes 0 to 7; of the last four, four bits lie in bytes 8 to 11 and two on top of the first ones.
static void store_scales(const struct quant_line_super *s, uint8_t *out)
{
    for (unsigned j = 0; j < 4; j++) {
        out[j] = (uint8_t)(s->scale[j] | (s->scale[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(s->minimum[j] | (s->minimum[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((s->scale[j + 4] & 15) | (s->minimum[j + 4] & 15) << 4);
    }
}

static void load_scales(const uint8_t *in, uint8_t *scale, uint8_t *minimum)
{
    for (unsigned j = 0; j < 4; j++) {
        scale[j] = in[j] & 63;
        minimum[j] = in[j + 4] & 63;
        scale[j + 4] = (uint8_t)((in[j + 8] & 15) | in[j] >> 6 << 4);
        minimum[j + 4] = (uint8_t)(in[j + 8] >> 4 | in[j + 4] >> 6 << 4);
    }
}

// The start of both: d, dmin, scales[12].
static int encode_head(const struct quant_line_super *s, int rc, uint8_t *out)
{
    quant_store_half(out, s->d, &rc);
    quant_store_half(out + 2, s->minimum_d, &rc);
    store_scales(s, out + 4);
    return rc;
}

// Of each 64 values the first 32 lie in the low nibbles of 32 bytes, the others in the high ones.
static void store_nibbles(const uint8_t *q, uint8_t *out)
{
    for (unsigned i = 0; i < QUANT_SUPER / 2; i++) {
        const uint8_t *pair = q + i / 32 * 64 + i % 32;
        out[i] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
    }
}

static void decode_line(const uint8_t *in, const uint8_t *fifth, const uint8_t *nibbles, float *x)
{
    float d = quant_load_half(in), minimum_d = quant_load_half(in + 2);
    uint8_t scale[8], minimum[8];
    load_scales(in + 4, scale, minimum);
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        unsigned r = i / 32;
        int q = nibbles[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
        if (fifth)
            q |= (fifth[i % 32] >> r & 1) << 4;
        x[i] = d * (float)scale[r] * (float)q - minimum_d * (float)minimum[r];
    }
}

// Q4_K: d, dmin, scales[12], qs[128].
static int encode_q4_k(const float *x, uint8_t *out)
{
    static const struct quant_line_rules rules = {32, 63, 15};
    struct quant_line_super s;
    int rc = quant_line_super(x, &rules, &s);
    store_nibbles(s.q, out + 16);
    return encode_head(&s, rc, out);
}
static void decode_q4_k(const uint8_t *in, float *x)
{
    decode_line(in, NULL, in + 16, x);
}

// Q5_K: d, dmin, scales[12], qh[32], qs[128]; bit r of qh[l] is the fifth bit of value l of run r.
static int encode_q5_k(const float *x, uint8_t *out)
{
    static const struct quant_line_rules rules = {32, 63, 31};
    struct quant_line_super s;
    int rc = quant_line_super(x, &rules, &s);
    memset(out + 16, 0, 32);
    for (unsigned i = 0; i < QUANT_SUPER; i++)
        out[16 + i % 32] |= (uint8_t)((s.q[i] >> 4) << i / 32);
    store_nibbles(s.q, out + 48);
    return encode_head(&s, rc, out);
}
static void decode_q5_k(const uint8_t *in, float *x)
{
    decode_line(in, in + 16, in + 48, x);
}

const struct quant_codec quant_q2_k = {encode_q2_k, decode_q2_k};
const struct quant_codec quant_q4_k = {encode_q4_k, decode_q4_k};
const struct quant_codec quant_q5_k = {encode_q5_k, decode_q5_k};
