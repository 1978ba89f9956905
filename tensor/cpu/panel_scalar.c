// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The scalar level's columns. It has no panels: batches go through row products.
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd_sse2.h"

#include "tensor/cpu/quantise.h"

const struct tn_integer_kernels tn_integer_scalar = {
    .quantise = quantise_column,
    .arranged_bytes = 2,
    .arrange = tn_scalar_arrange,
};
