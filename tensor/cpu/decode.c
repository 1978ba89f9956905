// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Taking blocks apart, one type after the other. Source: the block formats of GGUF.
#include "tensor/cpu/decode.h"

#include "tensor/half.h"

const int8_t tn_codebook_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
const int8_t tn_codebook_mxfp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float load_half(const uint8_t *p)
{
    return tn_f16_to_f32(load_u16(p));
}

float tn_mxfp4_scale(uint8_t e)
{
    return tn_bits_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

void tn_six_bit_scales(const uint8_t b[12], uint8_t scale[8], uint8_t minimum[8])
{
    for (int j = 0; j < 4; j++) {
        scale[j] = b[j] & 63;
        minimum[j] = b[j + 4] & 63;
        scale[j + 4] = (uint8_t)((b[j + 8] & 15) | b[j] >> 6 << 4);
        minimum[j + 4] = (uint8_t)(b[j + 8] >> 4 | b[j + 4] >> 6 << 4);
    }
}

// ---- blocks of 32 ------------------------------------------------------------------------------

// Sixteen bytes: low nibbles are weights 0..15, high ones 16..31.
static void nibbles(const uint8_t *qs, int zero, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - zero);
        q[i + 16] = (int8_t)((qs[i] >> 4) - zero);
    }
}

static void nibbles_by(const int8_t codebook[16], const uint8_t *qs, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = codebook[qs[i] & 15];
        q[i + 16] = codebook[qs[i] >> 4];
    }
}

static void five_bits(const uint8_t *qh, const uint8_t *qs, int zero, int8_t *q)
{
    nibbles(qs, zero, q);
    for (int i = 0; i < 32; i++) {
        q[i] = (int8_t)(q[i] + ((qh[i / 8] >> i % 8 & 1) << 4));
    }
}

static void decode_32(uint32_t type, const uint8_t *b, struct tn_decoded *out)
{
    out->d = load_half(b);
    out->m = 0;
    switch (type) {
    case TN_Q8_0:
        for (int i = 0; i < 32; i++) {
            out->q[i] = (int8_t)b[2 + i];
        }
        break;
    case TN_Q4_0:
        nibbles(b + 2, 8, out->q);
        break;
    case TN_Q4_1:
        out->m = load_half(b + 2);
        nibbles(b + 4, 0, out->q);
        break;
    case TN_Q5_0:
        five_bits(b + 2, b + 6, 16, out->q);
        break;
    case TN_Q5_1:
        out->m = load_half(b + 2);
        five_bits(b + 4, b + 8, 0, out->q);
        break;
    case TN_IQ4_NL:
        nibbles_by(tn_codebook_iq4, b + 2, out->q);
        break;
    default: // MXFP4
        out->d = tn_mxfp4_scale(b[0]);
        nibbles_by(tn_codebook_mxfp4, b + 1, out->q);
    }
}

// ---- blocks of 256 -----------------------------------------------------------------------------

// Two bits of weight i: each 128 weights share 32 bytes, a run of 32 for each shift of 0, 2, 4, 6.
static int two_bits(const uint8_t *qs, int i)
{
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void decode_q2_k(const uint8_t *b, struct tn_decoded *out)
{
    out->d = load_half(b + 80);
    out->m = load_half(b + 82);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = (int8_t)(b[j] & 15);
        out->minimum[j] = b[j] >> 4;
    }
    for (int i = 0; i < 256; i++) {
        out->q[i] = (int8_t)two_bits(b + 16, i);
    }
}

static void decode_q3_k(const uint8_t *b, struct tn_decoded *out)
{
    const uint8_t *high = b, *qs = b + 32, *scales = b + 96;
    out->d = load_half(b + 108);
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
        out->scale[j] = (int8_t)((low | (scales[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32);
    }
    for (int i = 0; i < 256; i++) {
        out->q[i] = (int8_t)(two_bits(qs, i) - (high[i % 32] >> i / 32 & 1 ? 0 : 4));
    }
}

// Q4_K and, with a fifth bit from `high`, Q5_K.
static void decode_q45_k(const uint8_t *b, const uint8_t *high, const uint8_t *qs,
                         struct tn_decoded *out)
{
    uint8_t scale[8], minimum[8];
    out->d = load_half(b);
    out->m = load_half(b + 2);
    tn_six_bit_scales(b + 4, scale, minimum);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = (int8_t)scale[j / 2];
        out->minimum[j] = minimum[j / 2];
    }
    for (int i = 0; i < 256; i++) {
        uint8_t byte = qs[i / 64 * 32 + i % 32];
        int q = i % 64 < 32 ? byte & 15 : byte >> 4;
        out->q[i] = (int8_t)(q | (high ? (high[i % 32] >> i / 32 & 1) << 4 : 0));
    }
}

static void decode_q6_k(const uint8_t *b, struct tn_decoded *out)
{
    const uint8_t *low = b, *high = b + 128;
    out->d = load_half(b + 208);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = (int8_t)b[192 + j];
    }
    for (int i = 0; i < 256; i++) {
        uint8_t byte = low[i / 128 * 64 + i % 64];
        int q = i % 128 < 64 ? byte & 15 : byte >> 4;
        q |= (high[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) << 4;
        out->q[i] = (int8_t)(q - 32);
    }
}

static void decode_iq4_xs(const uint8_t *b, struct tn_decoded *out)
{
    uint16_t high = load_u16(b + 2);
    out->d = load_half(b);
    for (int j = 0; j < 16; j++) {
        int run = j / 2;
        int low = b[4 + run / 2] >> run % 2 * 4 & 15;
        out->scale[j] = (int8_t)((low | (high >> 2 * run & 3) << 4) - 32);
    }
    for (int run = 0; run < 8; run++) {
        nibbles_by(tn_codebook_iq4, b + 8 + 16 * run, out->q + 32 * run);
    }
}

void tn_decode_block(uint32_t type, const uint8_t *block, struct tn_decoded *out)
{
    switch (type) {
    case TN_Q2_K:
        decode_q2_k(block, out);
        break;
    case TN_Q3_K:
        decode_q3_k(block, out);
        break;
    case TN_Q4_K:
        decode_q45_k(block, NULL, block + 16, out);
        break;
    case TN_Q5_K:
        decode_q45_k(block, block + 16, block + 48, out);
        break;
    case TN_Q6_K:
        decode_q6_k(block, out);
        break;
    case TN_IQ4_XS:
        decode_iq4_xs(block, out);
        break;
    default:
        decode_32(type, block, out);
    }
}
