/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Single-precision matrix product for training: C = beta C + A B, with operands that may lie
 * transposed, so that they need no copies.
 */
#ifndef TRAIN_GEMM_H
#define TRAIN_GEMM_H

#include <stddef.h>

/* A matrix of floats: element (i, j) is at data[i * row + j * column]. One of them is 1. */
struct train_matrix {
    const float *data;
    size_t row, column;
};

/*
 * C (m by n, rows `c_row` apart) = A (m by k) times B (k by n), added to C if `accumulate`.
 * C must not overlap A or B. May be called by any number of threads at a time.
 */
void train_gemm(size_t m, size_t n, size_t k, struct train_matrix a, struct train_matrix b,
                float *c, size_t c_row, int accumulate);

#endif
