// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rows of any type: the table of families, and what is checked before a block is encoded.
#include "tensor/quant/quant_private.h"

static const struct quant_codec *find(uint32_t type)
{
    static const struct quant_codec *const table[TN_TYPE_LIMIT] = {
        [TN_F32] = &quant_f32,     [TN_F16] = &quant_f16,       [TN_BF16] = &quant_bf16,
        [TN_Q4_0] = &quant_q4_0,   [TN_Q4_1] = &quant_q4_1,     [TN_Q5_0] = &quant_q5_0,
        [TN_Q5_1] = &quant_q5_1,   [TN_Q8_0] = &quant_q8_0,     [TN_Q2_K] = &quant_q2_k,
        [TN_Q3_K] = &quant_q3_k,   [TN_Q4_K] = &quant_q4_k,     [TN_Q5_K] = &quant_q5_k,
        [TN_Q6_K] = &quant_q6_k,   [TN_IQ4_NL] = &quant_iq4_nl, [TN_IQ4_XS] = &quant_iq4_xs,
        [TN_MXFP4] = &quant_mxfp4,
    };
    return type < TN_TYPE_LIMIT ? table[type] : NULL;
}

bool tn_quant_encodes(uint32_t type)
{
    return find(type) != NULL;
}

bool tn_quant_decodes(uint32_t type)
{
    return find(type) != NULL;
}

// No scale of half precision reaches values beyond this, and below it no sum of squares overflows.
#define MOST 1e9f

static int check(uint32_t type, const float *x, unsigned n)
{
    bool wide = type == TN_F32 || type == TN_BF16;
    int rc = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!(x[i] - x[i] == 0))
            return -EINVAL;
        if (!wide && !(x[i] <= MOST && x[i] >= -MOST))
            rc = -ERANGE;
    }
    return rc;
}

int tn_quant_encode(uint32_t type, const float *x, uint64_t values, void *out)
{
    const struct quant_codec *codec = find(type);
    const struct tn_type_info *info = tn_type_info(type);
    uint8_t *to = out;
    if (!codec)
        return -ENOTSUP;
    if (values % info->block_values)
        return -EINVAL;
    for (uint64_t i = 0; i < values; i += info->block_values, to += info->block_bytes) {
        int rc = check(type, x + i, info->block_values);
        if (!rc)
            rc = codec->encode(x + i, to);
        if (rc)
            return rc;
    }
    return 0;
}

int tn_quant_decode(uint32_t type, const void *in, uint64_t values, float *x)
{
    const struct quant_codec *codec = find(type);
    const struct tn_type_info *info = tn_type_info(type);
    const uint8_t *from = in;
    if (!codec)
        return -ENOTSUP;
    if (values % info->block_values)
        return -EINVAL;
    for (uint64_t i = 0; i < values; i += info->block_values, from += info->block_bytes)
        codec->decode(from, x + i);
    return 0;
}
