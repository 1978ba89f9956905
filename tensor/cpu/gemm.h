// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What one ISA level does for tensor/gemm.h. Operands are packed into slivers of 32-bit words: one
// float, or four bytes of consecutive k. A sliver of A is [depth][rows], of B [depth][lanes].
#ifndef TENSOR_CPU_GEMM_H
#define TENSOR_CPU_GEMM_H

#include "tensor/gemm.h"

enum {
    TN_GEMM_DEPTH = 384,     // words of k in a slice at most
    TN_GEMM_LANES_MOST = 32, // of any level
    TN_GEMM_ROWS_MOST = 12
};

// One block of C: a sliver of A times a sliver of B.
struct tn_gemm_block {
    const void *a, *b;
    size_t depth;  // words
    size_t b_step; // words from one row of the sliver of B to the next
    void *c;
    size_t c_stride, rows, columns; // rows and columns that exist: 1 .. those of the level
    float alpha, beta;
    bool accumulate;
};

struct tn_gemm_kernels {
    size_t rows, lanes; // of a block
    size_t word;        // values of k in a word: 1 or 4
    bool unpacked;      // B may also be multiplied where it lies, whole sixteens of its columns
    // `count` rows of A from `first` on, values k0 .. k0 + values - 1, into one sliver of
    // (values + word - 1) / word words; what does not exist is zero.
    void (*pack_a)(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out);
    // Likewise columns of B, into slivers that are sliver_bytes apart; those of integers begin with
    // one more row of words.
    void (*pack_b)(const struct tn_gemm *g, size_t first, size_t count, size_t k0, size_t values,
                   void *out, size_t sliver_bytes);
    void (*multiply)(const struct tn_gemm_block *t);
};
extern const struct tn_gemm_kernels tn_gemm_scalar, tn_gemm_avx2, tn_gemm_avx512;
extern const struct tn_gemm_kernels tn_gemm8_scalar, tn_gemm8_avx2, tn_gemm8_avx512vnni;

#endif
