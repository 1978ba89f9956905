// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weight rows in plain C: to floats (embeddings, tests), and to the bytes that panels multiply.
#include "tensor/cpu/kernels.h"

#include "tensor/half.h"

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void dequantise_q8_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / TN_BLOCK; b++, row += 34, out += TN_BLOCK) {
        float d = tn_f16_to_f32(load_u16(row));
        for (int i = 0; i < TN_BLOCK; i++) {
            out[i] = d * (float)(int8_t)row[2 + i];
        }
    }
}

static void dequantise_q4_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / TN_BLOCK; b++, row += 18, out += TN_BLOCK) {
        float d = tn_f16_to_f32(load_u16(row));
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((row[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((row[2 + i] >> 4) - 8);
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
    case TN_Q8_0:
        dequantise_q8_0(row, k, out);
        break;
    case TN_Q4_0:
        dequantise_q4_0(row, k, out);
        break;
    default: // the model's shape check admits no other type
        __builtin_trap();
    }
}

void tn_panel_unpack(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                     struct tn_panel_rows *out)
{
    size_t blocks = k / TN_BLOCK;
    out->zero = type == TN_Q8_0 ? 128 : 8;
    for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
        const uint8_t *block = w + (r < rows ? r : 0) * row_bytes; // rows beyond the last: a copy
        uint8_t *values = out->values + r * k;
        for (size_t b = 0; b < blocks; b++, values += TN_BLOCK) {
            out->scales[r * blocks + b] = tn_f16_to_f32(load_u16(block));
            const uint8_t *q = block + 2;
            if (type == TN_Q8_0) {
                for (int i = 0; i < TN_BLOCK; i++) {
                    values[i] = q[i] ^ 0x80;
                }
                block += 34;
            } else {
                for (int i = 0; i < 16; i++) {
                    values[i] = q[i] & 15;
                    values[i + 16] = q[i] >> 4;
                }
                block += 18;
            }
        }
    }
}
