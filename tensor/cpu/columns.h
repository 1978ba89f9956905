// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The inputs of a product, one column a token, as kernels see them; and the row kernels that
// multiply weights as they stand in a GGUF by a few of them.
#ifndef TENSOR_CPU_COLUMNS_H
#define TENSOR_CPU_COLUMNS_H

#include "tensor/exec.h"
#include "tensor/types.h"

#include <stdbool.h>

// How the columns that a weight type is multiplied by are kept.
enum tn_columns_kind {
    TN_COLUMNS_FLOAT, // as they are: F32, F16, BF16
    TN_COLUMNS_32,    // int8 in blocks of 32: Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL MXFP4
    TN_COLUMNS_256,   // int8 in blocks of 256: Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS
    TN_COLUMNS_NONE   // no type the engine multiplies by
};
enum tn_columns_kind tn_columns_kind_of(uint32_t type);

// Columns of k values each. Quantised: scale = max|x| / 127, values rounded to nearest even.
struct tn_columns {
    enum tn_columns_kind kind;
    size_t k;
    const float *floats;  // [column][k], kind FLOAT only
    const int8_t *values; // [column][k]
    const float *scales;  // [column][k / 32] or [column][k / 256]
    const int32_t *sums;  // sums of values: kind 32 [column][k / 32], kind 256 [column][k / 16]
    // The values once more as a level's own row products want them, `arranged_bytes` a value: the
    // scalar level's sixteen-bit lanes. 0 and NULL: none.
    const uint8_t *arranged;
    size_t arranged_bytes;
};

// The columns from column `first` on.
static inline struct tn_columns tn_columns_skip(const struct tn_columns *x, size_t first)
{
    struct tn_columns c = *x;
    if (c.kind == TN_COLUMNS_FLOAT) {
        c.floats += first * c.k;
    } else {
        c.values += first * c.k;
        c.arranged += first * c.k * c.arranged_bytes;
        c.scales += first * (c.k / (c.kind == TN_COLUMNS_32 ? 32 : 256));
        c.sums += first * (c.k / (c.kind == TN_COLUMNS_32 ? 32 : 16));
    }
    return c;
}

// out[c * out_stride + r] = row r of w times column c, for any rows and columns >= 1. Rows are
// row_bytes apart, as in the file; nothing past the last row is read.
typedef void tn_row_product(const uint8_t *w, size_t row_bytes, size_t rows,
                            const struct tn_columns *x, size_t columns, float *out,
                            size_t out_stride);
// Every computable type has one on every level (the plain C one if no better).
tn_row_product *tn_row_product_of(enum tn_isa isa, uint32_t type);

#endif
