// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Products of float weights (F32, F16, BF16; as in the file, or packed) with float columns.
//
// An output is one chain, k ascending: sum = fma(weight, x, sum) from 0, weights converted exactly;
// the scalar level multiplies, then adds. So its bits depend on its row and column alone, whichever
// of the ways below computes it, and AVX2 and AVX-512 agree. Lanes of registers are weight rows:
// rows of the file are turned sixteen at a time, packed ones ([k][16 rows]) lie that way already.
#ifndef TENSOR_CPU_FLOAT_PRODUCT_H
#define TENSOR_CPU_FLOAT_PRODUCT_H

#include "tensor/exec.h"
#include "tensor/types.h"

#include <stdbool.h>

enum {
    TN_FLOAT_DEPTH = 192,                             // k of one panel
    TN_FLOAT_ROWS = 32,                               // rows of one panel at most
    TN_FLOAT_SCRATCH = TN_FLOAT_DEPTH * TN_FLOAT_ROWS // floats of scratch a product needs
};

// Columns of k floats each. For batches they are arranged once for all rows: in groups of almost
// equal width, at most `group` of the level, each [k][width].
struct tn_float_columns {
    const float *floats;   // [column][k]
    const float *arranged; // columns * k floats made by `arrange`; NULL: not worth it, or no room
    size_t columns, k;
};

struct tn_float_kernels {
    size_t group; // batches wider than this gain from arranged columns
    // Writes one group; `index` in [0, tn_float_groups). Groups may be arranged by different
    // workers.
    void (*arrange)(const struct tn_float_columns *x, size_t index, float *arranged);
    // out[c * out_stride + r] = row r times column c. `type`: TN_F32, TN_F16 or TN_BF16, or one of
    // them with TN_PACKED; then w begins at a sixteen of rows and rows that only fill up the last
    // sixteen are readable. Rows are row_bytes apart (packed: a sixteen is 16 * row_bytes), of any
    // alignment, any number. scratch: TN_FLOAT_SCRATCH floats at a multiple of 64 bytes, one a
    // worker; may be NULL for a single column.
    void (*multiply)(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                     const struct tn_float_columns *x, float *out, size_t out_stride,
                     float *scratch);
};
const struct tn_float_kernels *tn_float_kernels_of(enum tn_isa isa);
extern const struct tn_float_kernels tn_float_scalar, tn_float_avx2, tn_float_avx512;

static inline size_t tn_float_groups(const struct tn_float_kernels *f, size_t columns)
{
    return (columns + f->group - 1) / f->group;
}
static inline bool tn_is_float_type(uint32_t type)
{
    type &= ~(uint32_t)TN_PACKED;
    return type == TN_F32 || type == TN_F16 || type == TN_BF16;
}

#endif
