// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Half-precision numbers to float and back: IEEE 754 binary16 (round to nearest even, as F16C does)
// and bfloat16. Integer arithmetic only, so that every machine gives the same bits.
#ifndef TENSOR_HALF_H
#define TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tn_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float tn_bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float tn_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = h & 0x7fffu;
    if (rest >= 0x7c00u) { // infinity, NaN (made quiet, as hardware does)
        uint32_t quiet = rest > 0x7c00u ? 0x400000u : 0;
        return tn_bits_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13 | quiet);
    }
    if (rest >= 0x0400u) {
        return tn_bits_float(sign | ((rest << 13) + (112u << 23)));
    }
    if (rest == 0) {
        return tn_bits_float(sign);
    }
    unsigned shift = (unsigned)__builtin_clz(rest) - 21; // brings the leading one to bit 10
    return tn_bits_float(sign | ((113u - shift) << 23) | (rest << shift & 0x3ffu) << 13);
}

static inline uint16_t tn_f32_to_f16(float f)
{
    uint32_t u = tn_float_bits(f);
    uint32_t sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u >= 0x47800000u) { // 65536 and above, infinity, NaN
        if (u > 0x7f800000u) {
            return (uint16_t)(sign | 0x7e00u | (u >> 13 & 0x3ffu));
        }
        return (uint16_t)(sign | 0x7c00u);
    }
    if (u >= 0x38800000u) { // normal
        uint32_t odd = u >> 13 & 1;
        return (uint16_t)(sign | ((u - (112u << 23) + 0xfffu + odd) >> 13));
    }
    if (u < 0x33000000u) { // below half of the smallest subnormal
        return (uint16_t)sign;
    }
    uint32_t exponent = u >> 23;
    uint32_t mantissa = (u & 0x7fffffu) | 0x800000u;
    uint32_t shift = 126 - exponent; // 14..24
    uint32_t half = 1u << (shift - 1);
    uint32_t odd = mantissa >> shift & 1;
    return (uint16_t)(sign | ((mantissa + half - 1 + odd) >> shift));
}

static inline float tn_bf16_to_f32(uint16_t h)
{
    return tn_bits_float((uint32_t)h << 16);
}

static inline uint16_t tn_f32_to_bf16(float f)
{
    uint32_t u = tn_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

#endif
