// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels over runs of floats of the scalar level: SSE2, which every x86-64 has.
#include "tensor/cpu/simd_sse2.h"

#include "tensor/ops/elements_functions.h"

const struct ops_kernels ops_kernels_scalar = OPS_KERNELS;
