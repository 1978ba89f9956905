// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The f32 matrix product with AVX-512 F/BW/VL/DQ.
#include "tensor/cpu/simd_avx512.h"
#include "tensor/cpu/turn_avx512.h"

#define GROUP  12
#define BLOCKS 2
#include "tensor/cpu/gemm_tile.h"

const struct tn_gemm_kernels tn_gemm_avx512 = GEMM_KERNELS;
