/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The trainer's matrix products are the runtime's (tensor/gemm.h), on the calling thread: threads
 * share out shards of a batch instead.
 */
#include "tensor/train/gemm.h"

#include "tensor/gemm.h"

#include <stdlib.h>

enum { WORKSPACE_BYTES = 1 << 20 };

static enum tn_isa level(void)
{
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return TN_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return TN_ISA_AVX2;
    return TN_ISA_SCALAR;
}

/*
 * A matrix has no gaps in one direction, so it is an operand as it stands or transposed. The stride
 * of a single row or column means nothing and may be short.
 */
static struct tn_operand operand(struct train_matrix m, size_t rows, size_t columns)
{
    if (m.column == 1 && (rows == 1 || m.row >= columns))
        return (struct tn_operand){m.data, rows == 1 ? columns : m.row, false};
    return (struct tn_operand){m.data, columns == 1 ? rows : m.column, true};
}

void train_gemm(size_t m, size_t n, size_t k, struct train_matrix a, struct train_matrix b,
                float *c, size_t c_row, int accumulate)
{
    static _Thread_local unsigned char workspace[WORKSPACE_BYTES] __attribute__((aligned(64)));
    const struct tn_gemm g = {.m = m,
                              .n = n,
                              .k = k,
                              .a = operand(a, m, k),
                              .b = operand(b, k, n),
                              .c = c,
                              .c_stride = c_row,
                              .alpha = 1,
                              .beta = accumulate ? 1 : 0,
                              .isa = level(),
                              .workspace = workspace,
                              .workspace_bytes = WORKSPACE_BYTES};

    if (tn_gemm(&g) != 0)
        abort(); /* a stride of ours is wrong */
}
