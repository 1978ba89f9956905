// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernel table of one ISA level, and what its entries promise.
//
// Batch invariance (DESIGN decision 11): the value of an output depends on its weight row and its
// column alone. Float rows: sixteen lanes, lane j sums the products of k = j mod 16 in ascending
// order, then the lanes are folded in halves.
#ifndef TENSOR_CPU_KERNELS_H
#define TENSOR_CPU_KERNELS_H

#include "tensor/cpu/columns.h"
#include "tensor/exec.h"
#include "tensor/types.h"

#include <stdbool.h>

enum { TN_BLOCK = 32 };

struct tn_kernels {
    const char *name;
    // out[c * out_stride + r] = row r of w times column c. Rows are row_bytes apart, columns k
    // floats.
    void (*dot_f32)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x, size_t columns,
                    size_t k, float *out, size_t out_stride);
    void (*dot_f16)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x, size_t columns,
                    size_t k, float *out, size_t out_stride);
    void (*dot_bf16)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x,
                     size_t columns, size_t k, float *out, size_t out_stride);
};

extern const struct tn_kernels tn_kernels_scalar, tn_kernels_avx2, tn_kernels_avx512,
    tn_kernels_avx512vnni;
const struct tn_kernels *tn_kernels_of(enum tn_isa isa);

// One row of any computable type as floats.
void tn_dequantise_row(uint32_t type, const uint8_t *row, size_t k, float *out);

// What tn_row_product_of gives where a level has nothing of its own, by type: without and with
// fused multiply-add.
extern tn_row_product *const tn_reference_products[TN_TYPE_LIMIT];
extern tn_row_product *const tn_reference_products_fma[TN_TYPE_LIMIT];

tn_row_product tn_scalar_product_q8_0, tn_scalar_product_q4_0;
tn_row_product tn_avx2_product_q8_0, tn_avx2_product_q4_0;
tn_row_product tn_avx512vnni_product_q8_0, tn_avx512vnni_product_q4_0;
void tn_scalar_arrange(const int8_t *values, size_t k, uint8_t *out);

#endif
