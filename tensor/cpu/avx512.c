// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 F/BW/VL/DQ without VNNI: wide floats.
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/float_kernels.h"

const struct tn_kernels tn_kernels_avx512 = {
    .name = "avx512",
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
};
