// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The plain row products of the levels that have fused multiply-add.
#define MULTIPLY_ADD(a, b, c) __builtin_fmaf(a, b, c)
#include "tensor/cpu/reference_product.h"

tn_row_product *const tn_reference_products_fma[TN_TYPE_LIMIT] = PRODUCT_TABLE;
