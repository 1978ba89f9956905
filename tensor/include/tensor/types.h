// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Element and block types of tensors. Source: facts of the GGUF format (ids are GGUF's).
#ifndef TENSOR_TYPES_H
#define TENSOR_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum tn_type {
    TN_F32 = 0,
    TN_F16 = 1,
    TN_Q4_0 = 2,
    TN_Q4_1 = 3,
    TN_Q5_0 = 6,
    TN_Q5_1 = 7,
    TN_Q8_0 = 8,
    TN_Q8_1 = 9,
    TN_Q2_K = 10,
    TN_Q3_K = 11,
    TN_Q4_K = 12,
    TN_Q5_K = 13,
    TN_Q6_K = 14,
    TN_Q8_K = 15,
    TN_IQ4_NL = 20,
    TN_IQ4_XS = 23,
    TN_I8 = 24,
    TN_I16 = 25,
    TN_I32 = 26,
    TN_I64 = 27,
    TN_F64 = 28,
    TN_BF16 = 30,
    TN_MXFP4 = 39,
    TN_TYPE_LIMIT = 64,
    // Added to a type in files of `tessera pack`: sixteen rows interleaved (tensor/cpu/packed.h),
    // the number of rows rounded up to sixteen in the file's bytes.
    TN_PACKED = 0x1000
};

struct tn_type_info {
    const char *name;      // "Q8_0"; NULL: no such type
    uint32_t block_values; // values a block holds
    uint32_t block_bytes;
    uint8_t computable; // the engine can multiply by it
};
// Never NULL; name is NULL for unknown ids. Packed types as their source.
const struct tn_type_info *tn_type_info(uint32_t type);
// Bytes of one row of `values`; 0 if values is no multiple of the block.
size_t tn_row_bytes(uint32_t type, uint64_t values);

#endif
