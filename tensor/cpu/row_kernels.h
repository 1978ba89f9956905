// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels of one ISA level that work on rows of floats, and the parts of attention. An element
// of a result depends on its own row (or element) alone. AVX2 and AVX-512 give the same bits; the
// scalar level has no fused multiply-add and differs in the last digits.
#ifndef TENSOR_CPU_ROW_KERNELS_H
#define TENSOR_CPU_ROW_KERNELS_H

#include "tensor/exec.h"
#include "tensor/ir/ir.h"

enum { TN_SPLIT_TOKENS = 512 }; // positions of one split of attention (attention.h)

// A block of rows times a block of columns: c[r][j] = sum over i ascending of a[r][i] b[i][j], one
// fused chain each, that begins with c[r][j] if `add`, otherwise with 0. Strides in floats.
struct tn_block_product {
    const float *a, *b;
    float *c;
    size_t a_stride, b_stride, c_stride;
    size_t rows, depth, columns; // columns: a multiple of 16
    bool add;
};

// Rows times a page of keys or values as it stands in a type that is not F32.
struct tn_page_product {
    uint32_t kv_type;
    const uint8_t *page; // the head's keys, or values
    const float *a;      // queries, or weights of places [first, first + count)
    float *c; // scores, 32 a row; or mixed values, padded to sixteens, which are added to
    size_t a_stride, c_stride, rows, dim;
    size_t first, count; // values only
};

struct tn_row_kernels {
    const char *name;

    // y = x / sqrt(mean(x^2) + epsilon) * weight. y may be x.
    void (*rms_norm)(float *y, const float *x, const float *weight, size_t n, float epsilon);
    // y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias; bias may be NULL. y may be
    // x.
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, size_t n,
                       float epsilon);
    void (*add)(float *out, const float *a, const float *b, size_t n); // out may be a or b
    void (*scale)(float *x, size_t n, float factor);
    // x = activation(x). Not IR_SWIGLU_OAI, which is a gate.
    void (*activate)(enum ir_activation activation, float *x, size_t n);
    // gate = activation(gate) * up
    void (*gate)(enum ir_activation activation, float *gate, const float *up, size_t n);
    // x = cap tanh(x / cap)
    void (*softcap)(float *x, size_t n, float cap);

    // Turns one head. Halves: table is [pairs] cosines, [pairs] sines. Neighbours: [2 pairs]
    // cosines, each twice, then [2 pairs] sines, each as -sine, sine. out may be x.
    void (*turn_halves)(float *out, const float *x, const float *table, size_t pairs);
    void (*turn_neighbours)(float *out, const float *x, const float *table, size_t pairs);

    void (*to_f16)(uint16_t *out, const float *x, size_t n);
    // 32 values to what a block of the type has after its scale, which is returned (f16).
    uint16_t (*to_q8_0)(const float *x, uint8_t *out);
    uint16_t (*to_q4_0)(const float *x, uint8_t *out);

    // ---- attention ----
    void (*block_product)(const struct tn_block_product *p);
    // The same from pages as they stand, for few rows: up to direct_rows they are brought into
    // registers only once.
    size_t direct_rows;
    void (*score_direct)(const struct tn_page_product *p);
    void (*mix_direct)(const struct tn_page_product *p);
    // One head's keys of a page as [dim][32], values as [32][stride], stride >= dim a multiple of
    // 16 (what lies beyond dim becomes 0), in floats.
    void (*keys_to_floats)(uint32_t kv_type, const uint8_t *keys, size_t dim, float *out);
    void (*values_to_floats)(uint32_t kv_type, const uint8_t *values, size_t dim, size_t count,
                             size_t stride, float *out);
    // Scores s[from, to) (multiples of 16) to scale * s, capped unless cap is 0, of which
    // [first, last) are seen, and on to weights exp(score - greatest), 0 where not seen. Returns
    // the greatest, -inf if none is seen; *total becomes the sum of the weights.
    float (*weigh)(float *s, size_t from, size_t to, size_t first, size_t last, float scale,
                   float cap, float *total);
    // out = out * old + in * new
    void (*combine)(float *out, float old, const float *in, float new, size_t n);
    // out = in / divisor
    void (*divide)(float *out, const float *in, float divisor, size_t n);
    float (*exponential)(float x); // as `weigh` computes it; 0 below -87
};

extern const struct tn_row_kernels tn_row_kernels_scalar, tn_row_kernels_avx2,
    tn_row_kernels_avx512;
const struct tn_row_kernels *tn_row_kernels_of(enum tn_isa isa);

#endif
