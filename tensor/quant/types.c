// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The table of element and block types by GGUF id: name, values and bytes of a block. Packed types
// (what the engine multiplies by can be packed) are described as what they were packed from.
#include "tensor/types.h"

static const struct tn_type_info table[TN_TYPE_LIMIT] = {
    [TN_F32] = {"F32", 1, 4, 1},
    [TN_F16] = {"F16", 1, 2, 1},
    [TN_Q4_0] = {"Q4_0", 32, 18, 1},
    [TN_Q4_1] = {"Q4_1", 32, 20, 1},
    [TN_Q5_0] = {"Q5_0", 32, 22, 1},
    [TN_Q5_1] = {"Q5_1", 32, 24, 1},
    [TN_Q8_0] = {"Q8_0", 32, 34, 1},
    [TN_Q8_1] = {"Q8_1", 32, 36, 0},
    [TN_Q2_K] = {"Q2_K", 256, 84, 1},
    [TN_Q3_K] = {"Q3_K", 256, 110, 1},
    [TN_Q4_K] = {"Q4_K", 256, 144, 1},
    [TN_Q5_K] = {"Q5_K", 256, 176, 1},
    [TN_Q6_K] = {"Q6_K", 256, 210, 1},
    [TN_Q8_K] = {"Q8_K", 256, 292, 0},
    [TN_IQ4_NL] = {"IQ4_NL", 32, 18, 1},
    [TN_IQ4_XS] = {"IQ4_XS", 256, 136, 1},
    [TN_I8] = {"I8", 1, 1, 0},
    [TN_I16] = {"I16", 1, 2, 0},
    [TN_I32] = {"I32", 1, 4, 0},
    [TN_I64] = {"I64", 1, 8, 0},
    [TN_F64] = {"F64", 1, 8, 0},
    [TN_BF16] = {"BF16", 1, 2, 1},
    [TN_MXFP4] = {"MXFP4", 32, 17, 1},
    // Known by name only, so that a model that has them is refused by name.
    [16] = {"IQ2_XXS", 256, 66, 0},
    [17] = {"IQ2_XS", 256, 74, 0},
    [18] = {"IQ3_XXS", 256, 98, 0},
    [19] = {"IQ1_S", 256, 50, 0},
    [21] = {"IQ3_S", 256, 110, 0},
    [22] = {"IQ2_S", 256, 82, 0},
    [29] = {"IQ1_M", 256, 56, 0},
    [34] = {"TQ1_0", 256, 54, 0},
    [35] = {"TQ2_0", 256, 66, 0},
    [40] = {"NVFP4", 64, 36, 0},
    [41] = {"Q1_0", 128, 18, 0},
    [42] = {"Q2_0", 64, 18, 0},
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
