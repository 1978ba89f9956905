// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The row kernels of the scalar level: SSE2, which every x86-64 has.
#include "tensor/cpu/simd_sse2.h"

#include "tensor/cpu/attention_kernels.h"

#include "tensor/cpu/attention_direct.h"
#include "tensor/cpu/row_functions.h"

const struct tn_row_kernels tn_row_kernels_scalar = ROW_KERNELS("scalar");
