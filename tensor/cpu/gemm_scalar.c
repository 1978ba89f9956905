// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The f32 matrix product for any x86-64.
#include "tensor/cpu/simd_sse2.h"
#include "tensor/cpu/turn_sse2.h"

#define GROUP  2
#define BLOCKS 1
#include "tensor/cpu/gemm_tile.h"

const struct tn_gemm_kernels tn_gemm_scalar = GEMM_KERNELS;
