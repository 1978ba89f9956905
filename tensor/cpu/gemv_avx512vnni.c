// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 with VNNI: products of integer weights with few columns.
#define GEMV_VNNI 1
#include "tensor/cpu/gemv_lanes_512.h"

#include "tensor/cpu/gemv_products.h"

tn_row_product *const tn_gemv_avx512vnni[TN_TYPE_LIMIT] = STRIP_TABLE(rows_);
tn_row_product *const tn_packed_avx512vnni[TN_TYPE_LIMIT] = STRIP_TABLE(packed_);
