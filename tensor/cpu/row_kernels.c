// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which row kernels an ISA level uses. VNNI adds nothing to floats.
#include "tensor/cpu/row_kernels.h"

const struct tn_row_kernels *tn_row_kernels_of(enum tn_isa isa)
{
    static const struct tn_row_kernels *const tables[TN_ISA_COUNT] = {
        &tn_row_kernels_scalar, &tn_row_kernels_avx2, &tn_row_kernels_avx512,
        &tn_row_kernels_avx512};
    return tables[isa];
}
