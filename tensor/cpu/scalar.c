// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The scalar level: plain C for any x86-64, and what emulated machines run. Integer products:
// gemv_scalar.c.
#include "tensor/cpu/simd_sse2.h"

#include "tensor/cpu/float_kernels.h"

const struct tn_kernels tn_kernels_scalar = {
    .name = "scalar",
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
};
