// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernel table of one ISA level, and what its entries promise.
//
// Batch invariance (DESIGN decision 11): the value of an output depends on its weight row and its
// column alone. Float rows: sixteen lanes, lane j sums the products of k = j mod 16 in ascending
// order, then the lanes are folded in halves. Integer rows: for each block of 32 in ascending
// order, sum = sum + (d_weight * d_column) * (float)(exact integer dot product). The integer rows,
// and everything but the float products, give the same bits on every ISA level too.
#ifndef TENSOR_CPU_KERNELS_H
#define TENSOR_CPU_KERNELS_H

#include "tensor/exec.h"
#include "tensor/types.h"

#include <stdbool.h>

enum { TN_BLOCK = 32, TN_PANEL_ROWS = 4, TN_PANEL_COLUMNS = 16 };

// Columns quantised to blocks of 32, one column after the other: 8-bit values in an ISA level's own
// arrangement, the scale of each block, and the sum of its values.
struct tn_columns8 {
    const void *values;  // [column][k], tn_kernels.column_value_bytes each
    const float *scales; // [column][k / 32]
    const int32_t *sums; // [column][k / 32]
};

// The columns from column `first` on, `value_bytes` a value.
static inline struct tn_columns8 tn_columns_from(const struct tn_columns8 *x, size_t first,
                                                 size_t k, size_t value_bytes)
{
    size_t at = first * (k / TN_BLOCK);
    return (struct tn_columns8){(const uint8_t *)x->values + first * k * value_bytes,
                                x->scales + at, x->sums + at};
}

// Sixteen columns interleaved for the panel kernels; columns that do not exist are zero.
struct tn_panel {
    const void *values;  // an ISA level's own arrangement, tn_kernels.panel_value_bytes each
    const float *scales; // [k / 32][16]
    const int32_t *sums; // [k / 32][16]
};

// Four weight rows unpacked for a panel: q + zero as unsigned bytes.
struct tn_panel_rows {
    uint8_t *values; // [4][k]
    float *scales;   // [4][k / 32]
    int32_t zero;
};

// One query row against one KV head: softmax(q k^T * scale) v over positions [0, positions), page
// by page in ascending order.
struct tn_attention {
    const float *q;    // [group][dim]
    float *out;        // [group][dim]
    const uint8_t *kv; // this layer's and head's block in page 0: K [32][dim], then V [32][dim]
    size_t page_bytes; // from one page to the next
    const uint32_t *pages;
    uint32_t positions, dim, group;
    uint32_t kv_type; // TN_F32, TN_F16
    float scale;
};

struct tn_kernels {
    const char *name;
    // y = x / sqrt(mean(x^2) + epsilon) * weight
    void (*rms_norm)(float *y, const float *x, const float *weight, size_t n, float epsilon);
    // gate = gate / (1 + exp(-gate)) * up
    void (*silu_mul)(float *gate, const float *up, size_t n);
    void (*to_f16)(uint16_t *out, const float *x, size_t n);
    void (*attention)(const struct tn_attention *a);

    // out[c * out_stride + r] = row r of w times column c. Rows are row_bytes apart, columns k
    // floats.
    void (*dot_f32)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x, size_t columns,
                    size_t k, float *out, size_t out_stride);
    void (*dot_f16)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x, size_t columns,
                    size_t k, float *out, size_t out_stride);
    void (*dot_bf16)(const uint8_t *w, size_t row_bytes, size_t rows, const float *x,
                     size_t columns, size_t k, float *out, size_t out_stride);

    // One column to blocks of 32: scale = max|x| / 127, values rounded to nearest even.
    uint32_t column_value_bytes;
    void (*quantise)(const float *x, size_t k, void *values, float *scales, int32_t *sums);
    // out[c * out_stride + r] = row r times quantised column c.
    void (*dot_q8_0)(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                     size_t columns, size_t k, float *out, size_t out_stride);
    void (*dot_q4_0)(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                     size_t columns, size_t k, float *out, size_t out_stride);

    // Panels, for batches of at least panel_from columns; NULL where a level has none.
    uint32_t panel_from;
    uint32_t panel_value_bytes;
    void (*panel_pack)(const struct tn_columns8 *c, size_t k, size_t columns, void *values,
                       float *scales, int32_t *sums); // columns 1..16
    void (*panel_unpack)(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                         struct tn_panel_rows *out); // rows 1..4
    // out[r * out_stride + c] for the 4 rows and `panels` times 16 columns.
    void (*panel_dot)(const struct tn_panel_rows *w, const struct tn_panel *x, size_t panels,
                      size_t k, float *out, size_t out_stride);
};

extern const struct tn_kernels tn_kernels_scalar, tn_kernels_avx2, tn_kernels_avx512,
    tn_kernels_avx512vnni;
const struct tn_kernels *tn_kernels_of(enum tn_isa isa);

// One row of any computable type as floats.
void tn_dequantise_row(uint32_t type, const uint8_t *row, size_t k, float *out);

// Shared by the AVX-512 levels.
void tn_avx2_dot_q8_0(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                      size_t columns, size_t k, float *out, size_t out_stride);
void tn_avx2_dot_q4_0(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                      size_t columns, size_t k, float *out, size_t out_stride);
void tn_avx2_panel_pack(const struct tn_columns8 *c, size_t k, size_t columns, void *values,
                        float *scales, int32_t *sums);
void tn_avx2_panel_dot(const struct tn_panel_rows *w, const struct tn_panel *x, size_t panels,
                       size_t k, float *out, size_t out_stride);
void tn_panel_unpack(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                     struct tn_panel_rows *out);

#endif
