// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The row kernels of AVX2 with FMA and F16C.
#include "tensor/cpu/simd_avx2.h"

#include "tensor/cpu/attention_kernels.h"

#include "tensor/cpu/attention_direct.h"
#include "tensor/cpu/row_functions.h"

const struct tn_row_kernels tn_row_kernels_avx2 = ROW_KERNELS("avx2");
