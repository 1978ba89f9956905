// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// General matrix products: f32, and 8-bit integers with exact 32-bit sums.
//
// Results depend on the operands and the ISA level alone, never on the number of threads or the
// size of the workspace: k is cut into slices by its length only, and each slice's sum is one
// ascending chain that is added to C.
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include "tensor/exec.h"
#include "tensor/pool.h"

#include <stdbool.h>

// An operand, row-major: element (i, j) lies at data[i * stride + j], or, transposed, at
// data[j * stride + i].
struct tn_operand {
    const void *data;
    size_t stride; // in elements
    bool transposed;
};

struct tn_gemm {
    size_t m, n, k;         // C is m by n, A m by k, B k by n
    struct tn_operand a, b; // floats; tn_gemm_int8: A uint8_t or (a_signed) int8_t, B int8_t
    void *c;                // element (i, j) at c[i * c_stride + j]: floats or int32_t
    size_t c_stride;        // at least n; C must not overlap A, B or the workspace
    float alpha, beta;      // C = alpha A B + beta C; beta 0: C is not read. Floats only
    bool a_signed;          // integers only
    bool accumulate;        // integers only: C = A B + C
    enum tn_isa isa;        // a level the machine has
    struct tn_pool *pool;   // NULL: all on the caller
    // Room for packed operands, a multiple of 64 bytes in address; from TN_GEMM_WORKSPACE_LEAST on,
    // faster up to tn_gemm_workspace(). NULL: taken with aligned_alloc for the call.
    void *workspace;
    size_t workspace_bytes;
};

enum { TN_GEMM_WORKSPACE_LEAST = 128 << 10 };

// 0; -EINVAL: a NULL where data is, a stride shorter than its rows, a workspace that is too small
// or unaligned, integer sums that might not fit (k above 65536); -ENOMEM. Any number of callers at
// a time, each with its own workspace.
int tn_gemm(const struct tn_gemm *g);
// Integer sums are exact: no intermediate saturates.
int tn_gemm_int8(const struct tn_gemm *g);
// Bytes with which either is fastest.
size_t tn_gemm_workspace(const struct tn_gemm *g);

#endif
