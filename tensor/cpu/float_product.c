// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which float products a level has.
#include "tensor/cpu/float_product.h"

const struct tn_float_kernels *tn_float_kernels_of(enum tn_isa isa)
{
    static const struct tn_float_kernels *const tables[TN_ISA_COUNT] = {
        &tn_float_scalar, &tn_float_avx2, &tn_float_avx512, &tn_float_avx512};
    return tables[isa];
}
