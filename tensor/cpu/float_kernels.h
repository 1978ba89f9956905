// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The float products, written once over sixteen-float vectors (v16) and compiled for each ISA
// level: include after one simd_*.h, in one file a level. Everything is static; the file's table
// names it.
#ifndef TENSOR_CPU_FLOAT_KERNELS_H
#define TENSOR_CPU_FLOAT_KERNELS_H

#include "tensor/cpu/kernels.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

// ---- rows of floats times columns ------------------------------------------------------------

// One register block of R rows and C columns (constants after inlining); each product has one
// v16 accumulator whatever R and C are.
#define DEFINE_DOT(NAME, BYTES, LOAD, LOAD_SOME)                                                   \
    ALWAYS_INLINE void block_##NAME(const int R, const int C, const uint8_t *w, size_t row_bytes,  \
                                    const float *x, size_t k, float *out, size_t out_stride)       \
    {                                                                                              \
        v16 sum[TILE_ROWS][TILE_COLUMNS], column[TILE_COLUMNS];                                    \
        size_t whole = k & ~(size_t)15, rest = k - whole;                                          \
        for (int r = 0; r < R; r++) {                                                              \
            for (int c = 0; c < C; c++) {                                                          \
                sum[r][c] = v_set1(0);                                                             \
            }                                                                                      \
        }                                                                                          \
        for (size_t i = 0; i < whole; i += 16) {                                                   \
            for (int c = 0; c < C; c++) {                                                          \
                column[c] = v_load(x + (size_t)c * k + i);                                         \
            }                                                                                      \
            for (int r = 0; r < R; r++) {                                                          \
                v16 row = LOAD(w + (size_t)r * row_bytes + i * (BYTES));                           \
                for (int c = 0; c < C; c++) {                                                      \
                    sum[r][c] = v_fma(row, column[c], sum[r][c]);                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        if (rest) {                                                                                \
            for (int c = 0; c < C; c++) {                                                          \
                column[c] = v_load_some(x + (size_t)c * k + whole, rest);                          \
            }                                                                                      \
            for (int r = 0; r < R; r++) {                                                          \
                v16 row = LOAD_SOME(w + (size_t)r * row_bytes + whole * (BYTES), rest);            \
                for (int c = 0; c < C; c++) {                                                      \
                    sum[r][c] = v_fma(row, column[c], sum[r][c]);                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < R; r++) {                                                              \
            for (int c = 0; c < C; c++) {                                                          \
                out[(size_t)c * out_stride + (size_t)r] = v_sum(sum[r][c]);                        \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void dot_##NAME(const uint8_t *w, size_t row_bytes, size_t rows, const float *x,        \
                           size_t columns, size_t k, float *out, size_t out_stride)                \
    {                                                                                              \
        for (size_t r = 0; r < rows;) {                                                            \
            const uint8_t *wr = w + r * row_bytes;                                                 \
            bool full = rows - r >= TILE_ROWS;                                                     \
            size_t c = 0;                                                                          \
            for (; full && columns - c >= TILE_COLUMNS; c += TILE_COLUMNS) {                       \
                block_##NAME(TILE_ROWS, TILE_COLUMNS, wr, row_bytes, x + c * k, k,                 \
                             out + c * out_stride + r, out_stride);                                \
            }                                                                                      \
            for (; c < columns; c++) {                                                             \
                if (full) {                                                                        \
                    block_##NAME(TILE_ROWS, 1, wr, row_bytes, x + c * k, k,                        \
                                 out + c * out_stride + r, out_stride);                            \
                } else {                                                                           \
                    block_##NAME(1, 1, wr, row_bytes, x + c * k, k, out + c * out_stride + r,      \
                                 out_stride);                                                      \
                }                                                                                  \
            }                                                                                      \
            r += full ? TILE_ROWS : 1;                                                             \
        }                                                                                          \
    }

DEFINE_DOT(f32, 4, v_load, v_load_some)
DEFINE_DOT(f16, 2, v_load_f16, v_load_f16_some)
DEFINE_DOT(bf16, 2, v_load_bf16, v_load_bf16_some)

#endif
