// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Packing rows and taking them out again, in plain C.
#include "tensor/cpu/packed.h"

#include <string.h>

static const struct tn_packed_layout layouts[TN_TYPE_LIMIT] = {
    [TN_Q8_0] = {0, 1, 2, 2, 8, 0x80, 32}, [TN_Q4_0] = {0, 1, 2, 2, 4, 0, 32},
    [TN_Q4_1] = {0, 2, 2, 4, 4, 0, 64},    [TN_Q5_0] = {0, 1, 2, 2, 5, 0, 32},
    [TN_Q5_1] = {0, 2, 2, 4, 5, 0, 64},    [TN_IQ4_NL] = {0, 1, 2, 2, 4, 0, 32},
    [TN_MXFP4] = {0, 1, 1, 1, 4, 0, 16},   [TN_Q2_K] = {80, 2, 2, 0, 20, 0, 64},
    [TN_Q3_K] = {108, 1, 2, 0, 27, 0, 32}, [TN_Q4_K] = {0, 2, 2, 4, 35, 0, 64},
    [TN_Q5_K] = {0, 2, 2, 4, 43, 0, 64},   [TN_Q6_K] = {208, 1, 2, 0, 52, 0, 32},
    [TN_IQ4_XS] = {0, 2, 2, 4, 33, 0, 64},
};

const struct tn_packed_layout *tn_packed_layout(uint32_t type)
{
    return type < TN_TYPE_LIMIT && layouts[type].dwords ? &layouts[type] : NULL;
}

bool tn_can_pack(uint32_t type)
{
    return tn_packed_layout(type) || type == TN_F32 || type == TN_F16 || type == TN_BF16;
}

// Where things of row r stand in a strip of `blocks` blocks.
static size_t dword_place(const struct tn_packed_layout *l, size_t b, size_t i, size_t r)
{
    return ((b * l->dwords + i) * TN_STRIP_ROWS + r) * 4;
}

static size_t head_place(const struct tn_packed_layout *l, size_t blocks, size_t b, size_t i,
                         size_t r)
{
    size_t heads = blocks * l->dwords * TN_STRIP_ROWS * 4;
    return heads + b * l->head_bytes + (i * TN_STRIP_ROWS + r) * l->head_size;
}

static void pack_block(const struct tn_packed_layout *l, const uint8_t *block, size_t blocks,
                       size_t b, size_t r, uint8_t *strip)
{
    for (size_t i = 0; i < l->head_count; i++) {
        memcpy(strip + head_place(l, blocks, b, i, r), block + l->head_at + i * l->head_size,
               l->head_size);
    }
    for (size_t i = 0; i < l->dwords; i++) {
        uint32_t four;
        memcpy(&four, block + l->dwords_at + 4 * i, sizeof four);
        four ^= l->flip * 0x01010101u;
        memcpy(strip + dword_place(l, b, i, r), &four, sizeof four);
    }
}

void tn_pack_strip(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows, size_t k,
                   uint8_t *strip)
{
    const struct tn_type_info *info = tn_type_info(type);
    const struct tn_packed_layout *l = tn_packed_layout(type);
    const size_t blocks = k / info->block_values, bytes = info->block_bytes;
    memset(strip, 0, blocks * bytes * TN_STRIP_ROWS);
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *row = w + r * row_bytes;
        for (size_t b = 0; b < blocks; b++) {
            if (l) {
                pack_block(l, row + b * bytes, blocks, b, r, strip);
            } else {
                memcpy(strip + (b * TN_STRIP_ROWS + r) * bytes, row + b * bytes, bytes);
            }
        }
    }
}

void tn_unpack_block(uint32_t type, const uint8_t *strip, size_t row, size_t k, size_t b,
                     uint8_t *out)
{
    const struct tn_packed_layout *l = tn_packed_layout(type);
    const size_t blocks = k / tn_type_info(type)->block_values;
    for (size_t i = 0; i < l->head_count; i++) {
        memcpy(out + l->head_at + i * l->head_size, strip + head_place(l, blocks, b, i, row),
               l->head_size);
    }
    for (size_t i = 0; i < l->dwords; i++) {
        const uint8_t *from = strip + dword_place(l, b, i, row);
        for (size_t j = 0; j < 4; j++) {
            out[l->dwords_at + 4 * i + j] = from[j] ^ l->flip;
        }
    }
}

void tn_unpack_row(uint32_t type, const uint8_t *strip, size_t row, size_t k, uint8_t *out)
{
    const struct tn_type_info *info = tn_type_info(type);
    const size_t blocks = k / info->block_values, bytes = info->block_bytes;
    for (size_t b = 0; b < blocks; b++) {
        if (tn_packed_layout(type)) {
            tn_unpack_block(type, strip, row, k, b, out + b * bytes);
        } else {
            memcpy(out + b * bytes, strip + (b * TN_STRIP_ROWS + row) * bytes, bytes);
        }
    }
}

tn_row_product *tn_packed_product_of(enum tn_isa isa, uint32_t type)
{
    static tn_row_product *const *const own[TN_ISA_COUNT] = {
        tn_packed_scalar, tn_packed_avx2, tn_packed_avx512, tn_packed_avx512vnni};
    return type < TN_TYPE_LIMIT ? own[isa][type] : NULL;
}
