// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Q3_K and Q6_K: super-blocks of 256 in runs of 16 with signed scales; value = d * scale * q.
#include "tensor/quant/superblock.h"

// Q3_K: hmask[32], qs[64], scales[12], d. Two low bits of q + 4 in qs, the third in hmask; scales +
// 32 have six bits, four in a nibble of the first eight bytes and two in the last four.
static int encode_q3_k(const float *x, uint8_t *out)
{
    static const struct quant_signed_rules rules = {16, -32, 31, -4, 3};
    struct quant_signed_super s;
    int rc = quant_signed_super(x, &rules, &s);
    memset(out, 0, 110);
    uint8_t *high = out, *low = out + 32, *scales = out + 96;
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        unsigned q = (unsigned)(s.q[i] + 4);
        low[i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
        high[i % 32] |= (uint8_t)((q >> 2) << i / 32);
    }
    for (unsigned r = 0; r < 16; r++) {
        unsigned v = (unsigned)(s.scale[r] + 32);
        scales[r % 8] |= (uint8_t)((v & 15) << r / 8 * 4);
        scales[8 + r % 4] |= (uint8_t)((v >> 4) << r / 4 * 2);
    }
    quant_store_half(out + 108, s.d, &rc);
    return rc;
}

static void decode_q3_k(const uint8_t *in, float *x)
{
    const uint8_t *high = in, *low = in + 32, *scales = in + 96;
    float d = quant_load_half(in + 108);
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        unsigned r = i / 16;
        int scale = (scales[r % 8] >> r / 8 * 4 & 15) | (scales[8 + r % 4] >> r / 4 * 2 & 3) << 4;
        int q = (low[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) | (high[i % 32] >> i / 32 & 1)
                                                                           << 2;
        x[i] = d * (float)(scale - 32) * (float)(q - 4);
    }
}

// Q6_K: ql[128], qh[64], scales[16], d. Four low bits of q + 32 in ql: of each 128, values 0..63 in
// low and 64..127 in high nibbles; two high bits in qh, a pair each 32 values.
static int encode_q6_k(const float *x, uint8_t *out)
{
    static const struct quant_signed_rules rules = {16, -128, 127, -32, 31};
    struct quant_signed_super s;
    int rc = quant_signed_super(x, &rules, &s);
    memset(out, 0, 210);
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        unsigned q = (unsigned)(s.q[i] + 32), at = i % 128;
        out[i / 128 * 64 + at % 64] |= (uint8_t)((q & 15) << at / 64 * 4);
        out[128 + i / 128 * 32 + at % 32] |= (uint8_t)((q >> 4) << at / 32 * 2);
    }
    memcpy(out + 192, s.scale, 16);
    quant_store_half(out + 208, s.d, &rc);
    return rc;
}

static void decode_q6_k(const uint8_t *in, float *x)
{
    float d = quant_load_half(in + 208);
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        unsigned at = i % 128;
        int q = (in[i / 128 * 64 + at % 64] >> at / 64 * 4 & 15) |
                (in[128 + i / 128 * 32 + at % 32] >> at / 32 * 2 & 3) << 4;
        x[i] = d * (float)(int8_t)in[192 + i / 16] * (float)(q - 32);
    }
}

const struct quant_codec quant_q3_k = {encode_q3_k, decode_q3_k};
const struct quant_codec quant_q6_k = {encode_q6_k, decode_q6_k};
