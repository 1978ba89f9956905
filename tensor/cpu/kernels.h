// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is not of one ISA level: weight rows as floats, and the row products in plain C.
#ifndef TENSOR_CPU_KERNELS_H
#define TENSOR_CPU_KERNELS_H

#include "tensor/cpu/columns.h"
#include "tensor/exec.h"
#include "tensor/types.h"

#include <stdbool.h>

// One row of any computable type as floats.
void tn_dequantise_row(uint32_t type, const uint8_t *row, size_t k, float *out);

// What tn_row_product_of gives where a level has nothing of its own, by type: without and with
// fused multiply-add. All others have the bits of these.
extern tn_row_product *const tn_reference_products[TN_TYPE_LIMIT];
extern tn_row_product *const tn_reference_products_fma[TN_TYPE_LIMIT];

void tn_scalar_arrange(const int8_t *values, size_t k, uint8_t *out);

#endif
