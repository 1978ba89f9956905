// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 with VNNI: products of integer weights with few columns.
#define GEMV_VNNI 1
#include "tensor/cpu/gemv_lanes_512.h"

#include "tensor/cpu/gemv_products.h"
#include "tensor/cpu/panel.h"

tn_row_product *const tn_gemv_avx512vnni[TN_TYPE_LIMIT] = STRIP_TABLE(rows_);
tn_row_product *const tn_packed_avx512vnni[TN_TYPE_LIMIT] = STRIP_TABLE(packed_);

const uint8_t *tn_unpack_chunk_avx512vnni(uint32_t type, const uint8_t *strip, size_t k,
                                          size_t from, size_t count, struct tn_chunk *out)
{
    static const struct strip_type *const strips[TN_TYPE_LIMIT] = STRIP_TABLE(&strip_);
    const struct strip_type *t = strips[type];
    const struct tn_packed_layout *layout = tn_packed_layout(type);
    const size_t values = tn_type_info(type)->block_values, b = from / values;
    const uint8_t *dwords = strip + b * layout->dwords * 64u;
    const uint8_t *heads = strip + k / values * layout->dwords * 64u + b * layout->head_bytes;
    t->unpack(heads, dwords, dwords, count / values, out);
    return t->values_are_dwords ? dwords : out->values[0];
}
