// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The plain row products of the scalar level, without fused operations.
#define MULTIPLY_ADD(a, b, c) ((c) + (a) * (b))
#include "tensor/cpu/reference_product.h"

tn_row_product *const tn_reference_products[TN_TYPE_LIMIT] = PRODUCT_TABLE;
