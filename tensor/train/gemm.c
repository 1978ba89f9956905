/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Chooses the matrix product for this CPU.
 */
#include "tensor/train/gemm.h"

void train_gemm(size_t m, size_t n, size_t k, struct train_matrix a, struct train_matrix b,
                float *c, size_t c_row, int accumulate)
{
    if (__builtin_cpu_supports("avx512f"))
        train_gemm_avx512(m, n, k, a, b, c, c_row, accumulate);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        train_gemm_avx2(m, n, k, a, b, c, c_row, accumulate);
    else
        train_gemm_portable(m, n, k, a, b, c, c_row, accumulate);
}
