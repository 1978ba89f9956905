// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The layout of packed weights (files of `tessera pack`, types `type | TN_PACKED`): sixteen rows, a
// strip, interleaved so that one register holds four bytes of each of them. One layout serves every
// ISA level; a strip has as many bytes as its sixteen rows have in the source; rows that the matrix
// does not have are zero bytes.
//
// A block of a quantised type has heads (its one or two 16-bit numbers d, m, dmin; the one byte of
// MXFP4; the upper scale bits of IQ4_XS count as one) and, in one piece, other bytes, a multiple of
// four: its dwords. A strip is
//   dwords [block][dword][16 rows][4 bytes], then heads [block][head][16 rows].
// Values of Q8_0 have their top bit flipped: value + 128, unsigned. Floats are [k][16 rows].
#ifndef TENSOR_CPU_PACKED_H
#define TENSOR_CPU_PACKED_H

#include "tensor/cpu/gemv.h"
#include "tensor/pack.h"

struct tn_packed_layout {
    uint8_t head_at, head_count, head_size; // in the source block: where, how many, bytes of one
    uint8_t dwords_at, dwords;              // in the source block: where, how many
    uint8_t flip;                           // exclusive or with each byte of the dwords
    uint8_t head_bytes;                     // of the heads of one block of sixteen rows
};
// Of quantised types; NULL: the type is none of them. `type` without TN_PACKED.
const struct tn_packed_layout *tn_packed_layout(uint32_t type);

// Block b of one row, as in the source. Quantised types.
void tn_unpack_block(uint32_t type, const uint8_t *strip, size_t row, size_t k, size_t b,
                     uint8_t *out);

// Products of packed rows: as tn_row_product with w at the beginning of a strip; a strip every
// 16 row_bytes. NULL: floats.
tn_row_product *tn_packed_product_of(enum tn_isa isa, uint32_t type);
extern tn_row_product *const tn_packed_scalar[TN_TYPE_LIMIT];
extern tn_row_product *const tn_packed_avx2[TN_TYPE_LIMIT];
extern tn_row_product *const tn_packed_avx512[TN_TYPE_LIMIT];
extern tn_row_product *const tn_packed_avx512vnni[TN_TYPE_LIMIT];

#endif
