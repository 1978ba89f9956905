// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels over runs of floats of AVX-512.
#include "tensor/cpu/simd_avx512.h"

#include "tensor/ops/elements_functions.h"

const struct ops_kernels ops_kernels_avx512 = OPS_KERNELS;
