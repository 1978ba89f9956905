// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels over runs of floats of AVX2 with FMA.
#include "tensor/cpu/simd_avx2.h"

#include "tensor/ops/elements_functions.h"

const struct ops_kernels ops_kernels_avx2 = OPS_KERNELS;
