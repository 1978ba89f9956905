// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Packing weights: sixteen rows interleaved into a strip, the types `type | TN_PACKED`. What a
// strip looks like: tensor/cpu/packed.h. A matrix of n rows becomes (n + 15) / 16 strips one after
// the other, a stack of matrices (experts) one matrix after the other.
#ifndef TENSOR_PACK_H
#define TENSOR_PACK_H

#include "tensor/types.h"

#include <stdbool.h>

enum { TN_STRIP_ROWS = 16 };

// The version of the layout, in packed files as tessera.packed.version.
enum { TN_PACKED_VERSION = 1 };

// Can matrices of the type be packed?
bool tn_can_pack(uint32_t type);
// Sixteen rows of k values, row_bytes apart, of which the first `rows` exist, to a strip of
// 16 * tn_row_bytes(type, k) bytes; and one row back.
void tn_pack_strip(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                   uint8_t *strip);
void tn_unpack_row(uint32_t type, const uint8_t *strip, size_t row, size_t k, uint8_t *out);

#endif
