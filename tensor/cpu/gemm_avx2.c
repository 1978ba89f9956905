// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The f32 matrix product with AVX2 and FMA.
#include "tensor/cpu/simd_avx2.h"
#include "tensor/cpu/turn_sse2.h"

#define GROUP  6
#define BLOCKS 1
#include "tensor/cpu/gemm_tile.h"

const struct tn_gemm_kernels tn_gemm_avx2 = GEMM_KERNELS;
