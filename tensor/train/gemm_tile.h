/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The body of a matrix product, included once an ISA level with GEMM_NAME, GEMM_LANES (floats in a
 * vector) and GEMM_ROWS set. A tile of C, GEMM_ROWS by two vectors, stays in registers; the slice
 * of B that it needs is packed once for all rows of C. K ascends, so results do not depend on m.
 */
#include "tensor/train/gemm.h"

#include <string.h>

enum { ROWS = GEMM_ROWS, LANES = GEMM_LANES, WIDTH = 2 * GEMM_LANES, DEPTH = 256 };

typedef float vector __attribute__((vector_size(GEMM_LANES * 4), aligned(4), may_alias));

/* Copies `depth` rows of `width` columns of B into rows of WIDTH floats, the rest zero. */
static void pack(float *packed, struct train_matrix b, size_t depth, size_t width)
{
    if (width < WIDTH)
        memset(packed, 0, depth * WIDTH * sizeof *packed);
    if (b.column == 1) {
        for (size_t k = 0; k < depth; k++)
            memcpy(packed + k * WIDTH, b.data + k * b.row, width * sizeof *packed);
        return;
    }
    for (size_t j = 0; j < width; j++) {
        const float *from = b.data + j * b.column;

        for (size_t k = 0; k < depth; k++)
            packed[k * WIDTH + j] = from[k * b.row];
    }
}

/* One full tile: sums[i] = row i of A times the packed slice of B. */
static inline __attribute__((always_inline)) void tile(size_t depth, const float *a, size_t a_row,
                                                       size_t a_column, const float *packed,
                                                       vector (*sums)[2], const int rows)
{
    vector sum[ROWS][2];

#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (vector){0};
    for (size_t k = 0; k < depth; k++) {
        const vector b0 = *(const vector *)(packed + k * WIDTH);
        const vector b1 = *(const vector *)(packed + k * WIDTH + LANES);

#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const float value = a[(size_t)i * a_row + k * a_column];

            sum[i][0] += value * b0;
            sum[i][1] += value * b1;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        sums[i][0] = sum[i][0];
        sums[i][1] = sum[i][1];
    }
}

/* How many rows to take when `left` are left: a whole tile or a power of two. */
static int rows_at_once(size_t left)
{
    int rows = 8;

    if (left >= ROWS)
        return ROWS;
    while ((size_t)rows > left)
        rows /= 2;
    return rows;
}

static void any_tile(size_t depth, const float *a, size_t a_row, size_t a_column,
                     const float *packed, vector (*sums)[2], int rows)
{
    switch (rows) {
    case 1:
        tile(depth, a, a_row, a_column, packed, sums, 1);
        break;
    case 2:
        tile(depth, a, a_row, a_column, packed, sums, 2);
        break;
#if GEMM_ROWS > 4
    case 4:
        tile(depth, a, a_row, a_column, packed, sums, 4);
        break;
#endif
#if GEMM_ROWS > 8
    case 8:
        tile(depth, a, a_row, a_column, packed, sums, 8);
        break;
#endif
    default:
        tile(depth, a, a_row, a_column, packed, sums, ROWS);
    }
}

/* Adds the tile to C, or stores it; `width` may be less than a whole tile. */
static void put(float *c, size_t c_row, vector (*sums)[2], int rows, size_t width, int accumulate)
{
    for (int i = 0; i < rows; i++, c += c_row) {
        if (width == WIDTH) {
            vector *out = (vector *)c;

            if (accumulate) {
                out[0] += sums[i][0];
                out[1] += sums[i][1];
            } else {
                out[0] = sums[i][0];
                out[1] = sums[i][1];
            }
        } else {
            const float *from = (const float *)sums[i];

            for (size_t j = 0; j < width; j++)
                c[j] = accumulate ? c[j] + from[j] : from[j];
        }
    }
}

void GEMM_NAME(size_t m, size_t n, size_t k, struct train_matrix a, struct train_matrix b, float *c,
               size_t c_row, int accumulate)
{
    float packed[DEPTH * WIDTH] __attribute__((aligned(64)));
    vector sums[ROWS][2];

    for (size_t j = 0; j < n; j += WIDTH) {
        const size_t width = n - j < WIDTH ? n - j : WIDTH;

        for (size_t start = 0; start < k; start += DEPTH) {
            const size_t depth = k - start < DEPTH ? k - start : DEPTH;
            const int add = accumulate || start > 0;
            struct train_matrix slice = b;
            size_t i = 0;

            slice.data += start * b.row + j * b.column;
            pack(packed, slice, depth, width);
            while (i < m) {
                const float *rows = a.data + i * a.row + start * a.column;
                const int count = rows_at_once(m - i);

                any_tile(depth, rows, a.row, a.column, packed, sums, count);
                put(c + i * c_row + j, c_row, sums, count, width, add);
                i += (size_t)count;
            }
        }
    }
}
