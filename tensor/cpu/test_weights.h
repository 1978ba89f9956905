// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Random weights of every type, for tests: any bits, with scales that are ordinary numbers.
#ifndef TENSOR_CPU_TEST_WEIGHTS_H
#define TENSOR_CPU_TEST_WEIGHTS_H

#include "tensor/half.h"
#include "tensor/types.h"

#include <stdlib.h>

static const uint32_t integer_types[] = {TN_Q8_0,   TN_Q4_0,  TN_Q4_1,  TN_Q5_0, TN_Q5_1,
                                         TN_IQ4_NL, TN_MXFP4, TN_Q2_K,  TN_Q3_K, TN_Q4_K,
                                         TN_Q5_K,   TN_Q6_K,  TN_IQ4_XS};
enum { INTEGER_TYPES = sizeof integer_types / sizeof *integer_types };

static uint64_t random_state = 12345;

static inline uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 32);
}

// In (-1, 1).
static inline float random_float(void)
{
    return (float)(int32_t)random_u32() * 0x1p-31f;
}

// Where a block's f16 numbers stand: d, and after it the minimum's.
static inline size_t scale_place(uint32_t type)
{
    return type == TN_Q2_K ? 80 : type == TN_Q3_K ? 108 : type == TN_Q6_K ? 208 : 0;
}

static inline void set_half(uint8_t *at, float f)
{
    uint16_t h = tn_f32_to_f16(f);
    memcpy(at, &h, 2);
}

// One block of random bits; filled: 0 random, 1 all zero bits, 2 all one bits (the extremes).
static inline void random_block(uint32_t type, uint8_t *block, int filled)
{
    const struct tn_type_info *t = tn_type_info(type);
    for (size_t i = 0; i < t->block_bytes; i++) {
        block[i] = filled ? (uint8_t)(filled == 2 ? 0xff : 0) : (uint8_t)random_u32();
    }
    if (type == TN_MXFP4) {
        block[0] = (uint8_t)(random_u32() % 20 + 115);
        return;
    }
    set_half(block + scale_place(type), random_float());
    if (type == TN_Q4_1 || type == TN_Q5_1 || type == TN_Q2_K || type == TN_Q4_K ||
        type == TN_Q5_K) {
        set_half(block + scale_place(type) + 2, random_float());
    }
}

static inline void random_rows(uint32_t type, uint8_t *w, size_t rows, size_t k)
{
    const struct tn_type_info *t = tn_type_info(type);
    for (size_t i = 0; i < rows * (k / t->block_values); i++, w += t->block_bytes) {
        uint32_t extreme = random_u32() % 16;
        random_block(type, w, extreme < 3 ? (int)extreme : 0);
    }
}

#endif
