// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which row product a type has on a level: the level's own, or the plain one.
#include "tensor/cpu/gemv.h"
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/packed.h"

tn_row_product *tn_row_product_of(enum tn_isa isa, uint32_t type)
{
    static tn_row_product *const *const own[TN_ISA_COUNT] = {tn_gemv_scalar, tn_gemv_avx2,
                                                             tn_gemv_avx512, tn_gemv_avx512vnni};
    if (type & TN_PACKED) {
        return tn_packed_product_of(isa, type & ~(uint32_t)TN_PACKED);
    }
    if (type >= TN_TYPE_LIMIT) {
        return NULL;
    }
    tn_row_product *const *plain =
        isa == TN_ISA_SCALAR ? tn_reference_products : tn_reference_products_fma;
    return own[isa][type] ? own[isa][type] : plain[type];
}

const struct tn_integer_kernels *tn_integer_kernels_of(enum tn_isa isa)
{
    static const struct tn_integer_kernels *const tables[TN_ISA_COUNT] = {
        &tn_integer_scalar, &tn_integer_avx2, &tn_integer_avx512, &tn_integer_avx512vnni};
    return tables[isa];
}
