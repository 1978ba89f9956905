// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Float products with AVX2, FMA and F16C.
#include "tensor/cpu/simd_avx2.h"
#include "tensor/cpu/turn_sse2.h"

#define BLOCKS   1
#define GROUP    6
#define LOAD_F16 v_load_f16
#include "tensor/cpu/float_product_tile.h"

const struct tn_float_kernels tn_float_avx2 = {GROUP, arrange, multiply};
