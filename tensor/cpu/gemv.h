// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Products of integer weights with few columns (decoding), lanes = rows: sixteen rows are taken
// together, 256 values of each at a time (a chunk). A chunk's blocks are first turned, so that a
// register holds four bytes of each of the sixteen rows; packed files (packed.h) hold them like
// that already. Then they are unpacked to unsigned bytes and multiplied by all columns.
#ifndef TENSOR_CPU_GEMV_H
#define TENSOR_CPU_GEMV_H

#include "tensor/cpu/columns.h"
#include "tensor/pack.h"

enum { TN_CHUNK = 256 };

// 256 values of sixteen rows, unpacked. Every row of these arrays is 64 bytes: sixteen rows of
// weights; levels of 256-bit registers do the left and the right half after each other.
struct tn_chunk {
    _Alignas(64) uint8_t values[TN_CHUNK / 4][64]; // [k / 4][16 rows][4], q + the type's zero
    float scale[8][16];                            // of each block of 32; super-blocks: [0]
    float minimum[8][16];                          // types with minima: as scale
    int32_t factor[16][16]; // super-blocks: integer scales of their parts, of 16 or 32 values
    int32_t pairs[8][16];   // super-blocks: what the column's sums multiply, pairs of int16
    const uint8_t *ahead;   // to prefetch while the chunk is multiplied, as much as it came from
};

// Row products by type; NULL: floats, or no better than the plain one.
extern tn_row_product *const tn_gemv_scalar[TN_TYPE_LIMIT];
extern tn_row_product *const tn_gemv_avx2[TN_TYPE_LIMIT];
extern tn_row_product *const tn_gemv_avx512[TN_TYPE_LIMIT];
extern tn_row_product *const tn_gemv_avx512vnni[TN_TYPE_LIMIT];

#endif
