// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Integer products of batches on the avx2 level.
#include "tensor/cpu/integer.h"
#include "tensor/cpu/simd_avx2.h"

#include "tensor/cpu/quantise.h"

const struct tn_integer_kernels tn_integer_avx2 = {
    .quantise = quantise_column,
    .multiply = tn_panel_multiply_avx2,
};
