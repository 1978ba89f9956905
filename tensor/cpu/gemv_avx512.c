// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 without VNNI: products of integer weights with few columns.
#include "tensor/cpu/gemv_lanes_512.h"

#include "tensor/cpu/gemv_products.h"
#include "tensor/cpu/gemv_wide.h"

tn_row_product *const tn_gemv_avx512[TN_TYPE_LIMIT] = STRIP_TABLE(rows_);
tn_row_product *const tn_packed_avx512[TN_TYPE_LIMIT] = STRIP_TABLE(packed_);

void tn_panel_multiply_avx512(const struct tn_panel_work *work)
{
    multiply_wide(work);
}
