// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weights in kernels: eight neighbouring values of a row, as floats, out of the blocks as they lie
// in the file. Source: the block formats of GGUF.
#ifndef TENSOR_CUDA_KERNEL_BLOCKS_H
#define TENSOR_CUDA_KERNEL_BLOCKS_H

#include "tensor/cuda/kernel_language.h"
#include "tensor/types.h"

// Blocks are multiples of two bytes and lie at even addresses, no more.
DEVICE uint32_t load_16(const uint8_t *at)
{
    return *(const uint16_t *)(const void *)at;
}

DEVICE uint32_t load_32(const uint8_t *at)
{
    return load_16(at) | load_16(at + 2) << 16;
}

DEVICE float load_half(const uint8_t *at)
{
    return half_to_float((uint16_t)load_16(at));
}

// Eight bytes at `at`, taken from an even address.
struct eight_bytes {
    uint32_t low, high;
};

DEVICE struct eight_bytes load_eight_bytes(const uint8_t *at)
{
    struct eight_bytes b;
    b.low = load_32(at);
    b.high = load_32(at + 4);
    return b;
}

DEVICE uint32_t byte_of(struct eight_bytes b, uint32_t i)
{
    return (i < 4 ? b.low >> 8 * i : b.high >> 8 * (i - 4)) & 255;
}

// The floats from `at` on; those past `columns` are 0.
DEVICE void floats_eight(const uint8_t *row, uint32_t type, uint32_t at, uint32_t columns,
                         float *out)
{
    for (uint32_t i = 0; i < 8; i++) {
        out[i] = 0;
        if (at + i < columns) {
            out[i] = type == TN_F32   ? ((const float *)(const void *)row)[at + i]
                     : type == TN_F16 ? load_half(row + 2 * (uint64_t)(at + i))
                                      : bits_float(load_16(row + 2 * (uint64_t)(at + i)) << 16);
        }
    }
}

// Q8_0, Q4_0, Q4_1, Q5_0, Q5_1: blocks of 32, weights i and i + 16 in one byte.
DEVICE void blocks_32_eight(const uint8_t *row, uint32_t type, uint32_t at, float *out)
{
    const uint32_t bytes = type == TN_Q8_0   ? 34
                           : type == TN_Q4_0 ? 18
                           : type == TN_Q4_1 ? 20
                           : type == TN_Q5_0 ? 22
                                             : 24;
    const int has_minimum = type == TN_Q4_1 || type == TN_Q5_1;
    const int has_fifth = type == TN_Q5_0 || type == TN_Q5_1;
    const uint8_t *block = row + (uint64_t)(at / 32) * bytes, *next = block + 2;
    uint32_t place = at % 32;
    float d = load_half(block), m = 0;
    if (type == TN_Q8_0) {
        struct eight_bytes b = load_eight_bytes(next + place);
        for (uint32_t i = 0; i < 8; i++) {
            out[i] = d * (float)(int8_t)byte_of(b, i);
        }
        return;
    }
    if (has_minimum) {
        m = load_half(next);
        next += 2;
    }
    uint32_t fifth = 0;
    if (has_fifth) {
        fifth = load_32(next) >> place;
        next += 4;
    }
    struct eight_bytes b = load_eight_bytes(next + place % 16);
    uint32_t shift = place / 16 * 4;
    for (uint32_t i = 0; i < 8; i++) {
        int32_t q = (int32_t)((byte_of(b, i) >> shift & 15) | (fifth >> i & 1) << 4);
        if (!has_minimum) {
            q -= has_fifth ? 16 : 8;
        }
        out[i] = has_minimum ? __builtin_fmaf(d, (float)q, m) : d * (float)q;
    }
}

// Q4_K and Q5_K: eight runs of 32, each with a scale and a minimum of six bits.
DEVICE void q45_k_eight(const uint8_t *row, uint32_t type, uint32_t at, float *out)
{
    const uint8_t *block = row + (uint64_t)(at / 256) * (type == TN_Q4_K ? 144 : 176);
    const uint8_t *scales = block + 4, *qs = block + (type == TN_Q4_K ? 16 : 48);
    uint32_t place = at % 256, run = place / 32, scale, minimum;
    if (run < 4) {
        scale = scales[run] & 63u;
        minimum = scales[run + 4] & 63u;
    } else {
        scale = (scales[run + 4] & 15u) | (uint32_t)scales[run - 4] >> 6 << 4;
        minimum = (uint32_t)scales[run + 4] >> 4 | (uint32_t)scales[run] >> 6 << 4;
    }
    float d = load_half(block) * (float)scale, m = load_half(block + 2) * (float)minimum;
    struct eight_bytes b = load_eight_bytes(qs + place / 64 * 32 + place % 32);
    struct eight_bytes high = {0, 0};
    if (type == TN_Q5_K) {
        high = load_eight_bytes(block + 16 + place % 32);
    }
    uint32_t shift = run % 2 * 4;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t q = (byte_of(b, i) >> shift & 15) | (byte_of(high, i) >> run & 1) << 4;
        out[i] = __builtin_fmaf(d, (float)q, -m);
    }
}

// Q6_K: four low bits, two high ones, sixteen signed scales.
DEVICE void q6_k_eight(const uint8_t *row, uint32_t at, float *out)
{
    const uint8_t *block = row + (uint64_t)(at / 256) * 210;
    uint32_t place = at % 256, half = place / 128, within = place % 128;
    float d = load_half(block + 208) * (float)(int8_t)block[192 + place / 16];
    struct eight_bytes low = load_eight_bytes(block + half * 64 + within % 64);
    struct eight_bytes high = load_eight_bytes(block + 128 + half * 32 + within % 32);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t q = (byte_of(low, i) >> within / 64 * 4 & 15) |
                     (byte_of(high, i) >> within / 32 * 2 & 3) << 4;
        out[i] = d * (float)((int32_t)q - 32);
    }
}

// Values at … at + 7 of a row; `at` is a multiple of 8. A constant type leaves one case of these.
DEVICE void weights_eight(const uint8_t *row, uint32_t type, uint32_t at, uint32_t columns,
                          float *out)
{
    if (type == TN_F32 || type == TN_F16 || type == TN_BF16) {
        floats_eight(row, type, at, columns, out);
    } else if (type == TN_Q4_K || type == TN_Q5_K) {
        q45_k_eight(row, type, at, out);
    } else if (type == TN_Q6_K) {
        q6_k_eight(row, at, out);
    } else {
        blocks_32_eight(row, type, at, out);
    }
}

#endif
