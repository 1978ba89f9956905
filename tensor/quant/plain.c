// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Elements without blocks: F32, F16, BF16.
#include "tensor/quant/quant_private.h"

static int encode_f32(const float *x, uint8_t *out)
{
    memcpy(out, x, 4);
    return 0;
}
static void decode_f32(const uint8_t *in, float *x)
{
    memcpy(x, in, 4);
}

static int encode_f16(const float *x, uint8_t *out)
{
    int rc = 0;
    quant_store_half(out, *x, &rc);
    return rc;
}
static void decode_f16(const uint8_t *in, float *x)
{
    *x = quant_load_half(in);
}

static int encode_bf16(const float *x, uint8_t *out)
{
    uint16_t h = tn_f32_to_bf16(*x);
    quant_store_u16(out, h);
    return (h & 0x7f80u) == 0x7f80u ? -ERANGE : 0;
}
static void decode_bf16(const uint8_t *in, float *x)
{
    *x = tn_bf16_to_f32(quant_load_u16(in));
}

const struct quant_codec quant_f32 = {encode_f32, decode_f32};
const struct quant_codec quant_f16 = {encode_f16, decode_f16};
const struct quant_codec quant_bf16 = {encode_bf16, decode_bf16};
