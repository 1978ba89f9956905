// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Float products with AVX-512 F/BW/VL/DQ.
#include "tensor/cpu/simd_avx512.h"
#include "tensor/cpu/turn_avx512.h"

#define BLOCKS   2
#define GROUP    12
#define LOAD_F16 v_load_f16
#include "tensor/cpu/float_product_tile.h"

const struct tn_float_kernels tn_float_avx512 = {GROUP, arrange, multiply};
