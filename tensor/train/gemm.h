/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Single-precision matrix product for training: C = beta C + A B, with any strides, so that
 * transposed operands need no copies. One implementation an ISA level, chosen once by CPUID.
 */
#ifndef TRAIN_GEMM_H
#define TRAIN_GEMM_H

#include <stddef.h>

/* A matrix of floats: element (i, j) is at data[i * row + j * column]. */
struct train_matrix {
    const float *data;
    size_t row, column;
};

/*
 * C (m by n, rows `c_row` apart) = A (m by k) times B (k by n), added to C if `accumulate`.
 * C must not overlap A or B. May be called by any number of threads at a time.
 */
typedef void train_gemm_fn(size_t m, size_t n, size_t k, struct train_matrix a,
                           struct train_matrix b, float *c, size_t c_row, int accumulate);

extern train_gemm_fn train_gemm;

/* The implementations behind train_gemm. Each but the portable one needs its ISA level. */
extern train_gemm_fn train_gemm_portable, train_gemm_avx2, train_gemm_avx512;

#endif
