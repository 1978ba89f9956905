// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The integer products of one ISA level: quantising columns, and panels for batches of them.
#ifndef TENSOR_CPU_INTEGER_H
#define TENSOR_CPU_INTEGER_H

#include "tensor/cpu/panel.h"

struct tn_integer_kernels {
    // One column of k values: scale = max|x| / 127, values rounded to nearest even, and the sums of
    // columns.h. The same bits on every level.
    void (*quantise)(enum tn_columns_kind kind, const float *x, size_t k, int8_t *values,
                     float *scales, int32_t *sums);
    // The level's own arrangement of a column's values, for its row products. 0, NULL: none.
    size_t arranged_bytes;
    void (*arrange)(const int8_t *values, size_t k, uint8_t *out);
    // Batches; NULL where a level has no panels.
    tn_panel_multiply *multiply;
};
const struct tn_integer_kernels *tn_integer_kernels_of(enum tn_isa isa);
extern const struct tn_integer_kernels tn_integer_scalar, tn_integer_avx2, tn_integer_avx512,
    tn_integer_avx512vnni;

#endif
