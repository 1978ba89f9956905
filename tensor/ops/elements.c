// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which kernels over runs of floats an ISA level uses. VNNI adds nothing to floats.
#include "tensor/ops/elements.h"

const struct ops_kernels *ops_kernels_of(enum tn_isa isa)
{
    static const struct ops_kernels *const tables[TN_ISA_COUNT] = {
        &ops_kernels_scalar, &ops_kernels_avx2, &ops_kernels_avx512, &ops_kernels_avx512};
    return tables[isa];
}
