// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels of one ISA level over runs of floats that the model executor has no use for. An
// element of a result depends on its own elements alone, or on its own row. Levels with fused
// multiply-add give the same bits.
#ifndef TENSOR_OPS_ELEMENTS_H
#define TENSOR_OPS_ELEMENTS_H

#include "tensor/exec.h"

#include <stdbool.h>

struct ops_kernels {
    // out = a kind b (TN_OPS_ADD to TN_OPS_DIV); one: b is a single value. out may be a or b.
    void (*combine)(uint32_t kind, float *out, const float *a, const float *b, bool one, size_t n);
    void (*scale)(float *out, const float *x, float factor, float addend, size_t n);
    // By enum tn_ops_activation. out may be x, a or b.
    void (*activate)(uint32_t activation, float *out, const float *x, size_t n);
    void (*gate)(uint32_t activation, float *out, const float *a, const float *b, size_t n);
    // Rows. Sums run in sixteen lanes, element i in lane i mod 16, folded in halves.
    void (*softmax)(float *out, const float *x, float scale, size_t n);
    float (*sum)(const float *x, size_t n);
    float (*greatest)(const float *x, size_t n);
};
extern const struct ops_kernels ops_kernels_scalar, ops_kernels_avx2, ops_kernels_avx512;
const struct ops_kernels *ops_kernels_of(enum tn_isa isa);

#endif
