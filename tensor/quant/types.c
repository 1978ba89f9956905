// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The table of element and block types by GGUF id: name, values and bytes of a block. Packed types
// (what the engine multiplies by can be packed) are described as what they were packed from.
#include "tensor/types.h"

static const struct tn_type_info table[TN_TYPE_LIMIT] = {
    [TN_F32] = {"F32", 1, 4, 1},         [TN_F16] = {"F16", 1, 2, 1},
    [TN_Q4_0] = {"Q4_0", 32, 18, 1},     [TN_Q4_1] = {"Q4_1", 32, 20, 1},
    [TN_Q5_0] = {"Q5_0", 32, 22, 1},     [TN_Q5_1] = {"Q5_1", 32, 24, 1},
    [TN_Q8_0] = {"Q8_0", 32, 34, 1},     [TN_Q8_1] = {"Q8_1", 32, 36, 0},
    [TN_Q2_K] = {"Q2_K", 256, 84, 1},    [TN_Q3_K] = {"Q3_K", 256, 110, 1},
    [TN_Q4_K] = {"Q4_K", 256, 144, 1},   [TN_Q5_K] = {"Q5_K", 256, 176, 1},
    [TN_Q6_K] = {"Q6_K", 256, 210, 1},   [TN_Q8_K] = {"Q8_K", 256, 292, 0},
    [TN_IQ4_NL] = {"IQ4_NL", 32, 18, 1}, [TN_IQ4_XS] = {"IQ4_XS", 256, 136, 1},
    [TN_I8] = {"I8", 1, 1, 0},           [TN_I16] = {"I16", 1, 2, 0},
    [TN_I32] = {"I32", 1, 4, 0},         [TN_I64] = {"I64", 1, 8, 0},
    [TN_F64] = {"F64", 1, 8, 0},         [TN_BF16] = {"BF16", 1, 2, 1},
    [TN_MXFP4] = {"MXFP4", 32, 17, 1},
};
static const struct tn_type_info unknown = {NULL, 0, 0, 0};

const struct tn_type_info *tn_type_info(uint32_t type)
{
    uint32_t plain = type & ~(uint32_t)TN_PACKED;
    if (plain >= TN_TYPE_LIMIT || (plain != type && !table[plain].computable)) {
        return &unknown;
    }
    return &table[plain];
}

size_t tn_row_bytes(uint32_t type, uint64_t values)
{
    const struct tn_type_info *t = tn_type_info(type);
    if (!t->name || values % t->block_values)
        return 0;
    uint64_t blocks = values / t->block_values;
    return blocks > SIZE_MAX / t->block_bytes ? 0 : (size_t)blocks * t->block_bytes;
}
