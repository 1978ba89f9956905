// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weight rows as floats (embeddings, tests), and which columns a type is multiplied by.
#include "tensor/cpu/decode.h"
#include "tensor/cpu/kernels.h"

#include "tensor/half.h"

enum tn_columns_kind tn_columns_kind_of(uint32_t type)
{
    const struct tn_type_info *t = tn_type_info(type & ~(uint32_t)TN_PACKED);
    if (!t->name || !t->computable) {
        return TN_COLUMNS_NONE;
    }
    return t->block_values == 1    ? TN_COLUMNS_FLOAT
           : t->block_values == 32 ? TN_COLUMNS_32
                                   : TN_COLUMNS_256;
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void dequantise_blocks(uint32_t type, const uint8_t *row, size_t k, float *out)
{
    const struct tn_type_info *t = tn_type_info(type);
    struct tn_decoded b;
    for (size_t at = 0; at < k; at += t->block_values, row += t->block_bytes) {
        tn_decode_block(type, row, &b);
        if (t->block_values == 32) {
            for (size_t i = 0; i < 32; i++) {
                out[at + i] = b.d * (float)b.q[i] + b.m;
            }
            continue;
        }
        for (size_t j = 0; j < 16; j++) {
            float d = b.d * (float)b.scale[j];
            float m = tn_type_has_minima(type) ? b.m * (float)b.minimum[j] : 0;
            for (size_t i = 16 * j; i < 16 * j + 16; i++) {
                out[at + i] = d * (float)b.q[i] - m;
            }
        }
    }
}

void tn_dequantise_row(uint32_t type, const uint8_t *row, size_t k, float *out)
{
    switch (type) {
    case TN_F32:
        memcpy(out, row, k * 4);
        break;
    case TN_F16:
        for (size_t i = 0; i < k; i++) {
            out[i] = tn_f16_to_f32(load_u16(row + 2 * i));
        }
        break;
    case TN_BF16:
        for (size_t i = 0; i < k; i++) {
            out[i] = tn_bf16_to_f32(load_u16(row + 2 * i));
        }
        break;
    default: // the model's shape check admits computable types only
        dequantise_blocks(type, row, k, out);
    }
}
