// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 F/BW/VL/DQ without VNNI: wide floats; the integer products are the AVX2 level's.
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/float_kernels.h"

static void quantise_to_bytes(const float *x, size_t k, void *values, float *scales, int32_t *sums)
{
    quantise(x, k, values, scales, sums);
}

const struct tn_kernels tn_kernels_avx512 = {
    .name = "avx512",
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .to_f16 = to_f16,
    .attention = attention,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .column_value_bytes = 1,
    .quantise = quantise_to_bytes,
    .dot_q8_0 = tn_avx2_dot_q8_0,
    .dot_q4_0 = tn_avx2_dot_q4_0,
    .panel_from = 4,
    .panel_value_bytes = 2,
    .panel_pack = tn_avx2_panel_pack,
    .panel_unpack = tn_panel_unpack,
    .panel_dot = tn_avx2_panel_dot,
};
