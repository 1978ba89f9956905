// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The reference level: plain C for any x86-64. The other levels are tested against it, and it is
// what emulated machines run.
#include "tensor/cpu/simd_scalar.h"

#include "tensor/cpu/float_kernels.h"

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void dot_q8_0(const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                     const int8_t *values, const float *scales, const int32_t *sums, float *out)
{
    (void)sums;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *block = w + r * row_bytes;
        float total = 0;
        for (size_t b = 0; b < k / TN_BLOCK; b++, block += 34) {
            const int8_t *q = (const int8_t *)(block + 2), *x = values + b * TN_BLOCK;
            int32_t sum = 0;
            for (int i = 0; i < TN_BLOCK; i++) {
                sum += q[i] * x[i];
            }
            total += tn_f16_to_f32(load_u16(block)) * scales[b] * (float)sum;
        }
        out[r] = total;
    }
}

static void dot_q4_0(const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                     const int8_t *values, const float *scales, const int32_t *sums, float *out)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *block = w + r * row_bytes;
        float total = 0;
        for (size_t b = 0; b < k / TN_BLOCK; b++, block += 18) {
            const uint8_t *q = block + 2;
            const int8_t *x = values + b * TN_BLOCK;
            int32_t sum = -8 * sums[b];
            for (int i = 0; i < 16; i++) {
                sum += (q[i] & 15) * x[i] + (q[i] >> 4) * x[i + 16];
            }
            total += tn_f16_to_f32(load_u16(block)) * scales[b] * (float)sum;
        }
        out[r] = total;
    }
}

const struct tn_kernels tn_kernels_scalar = {
    .name = "scalar",
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .to_f16 = to_f16,
    .attention = attention,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .quantise = quantise,
    .dot_q8_0 = dot_q8_0,
    .dot_q4_0 = dot_q4_0,
};
