/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Q8_0 with the reference rounding: scale = largest magnitude / 127, quotients rounded half away
 * from zero.
 */
#include "tensor/train/q8.h"

#include <math.h>
#include <string.h>

uint16_t train_half_from_float(float value)
{
    uint32_t bits, sign, mantissa, rest, half;
    int exponent, shift = 13;

    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    exponent = (int)(bits >> 23 & 0xff);
    mantissa = bits & 0x7fffffu;
    if (exponent == 255)
        return (uint16_t)(sign | 0x7c00u | (mantissa ? 0x200u : 0));
    exponent -= 112;
    if (exponent >= 31)
        return (uint16_t)(sign | 0x7c00u);
    if (exponent <= 0) { /* below the smallest normal half */
        if (exponent < -10)
            return (uint16_t)sign;
        mantissa |= 0x800000u;
        shift = 14 - exponent;
        exponent = 0;
    }
    half = (uint32_t)exponent << 10 | mantissa >> shift;
    if (shift > 13)
        half = mantissa >> shift;
    rest = mantissa & ((1u << shift) - 1);
    if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && half & 1))
        half++; /* may carry into the exponent, which is right */
    return (uint16_t)(sign | half);
}

float train_float_from_half(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const float mantissa = (float)(half & 0x3ff);
    const float sign = half & 0x8000 ? -1.0f : 1.0f;

    if (exponent == 31)
        return half & 0x3ff ? NAN : sign * INFINITY;
    if (!exponent)
        return sign * ldexpf(mantissa, -24);
    return sign * ldexpf(1024.0f + mantissa, exponent - 25);
}

void train_q8_encode(size_t count, const float *x, uint8_t *out)
{
    for (size_t i = 0; i < count; i += TRAIN_Q8_BLOCK, x += TRAIN_Q8_BLOCK, out += TRAIN_Q8_BYTES) {
        float largest = 0, scale, inverse;
        uint16_t half;

        for (int j = 0; j < TRAIN_Q8_BLOCK; j++)
            largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
        scale = largest / 127.0f;
        inverse = scale > 0 ? 1.0f / scale : 0;
        half = train_half_from_float(scale);
        out[0] = (uint8_t)half;
        out[1] = (uint8_t)(half >> 8);
        for (int j = 0; j < TRAIN_Q8_BLOCK; j++)
            out[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
    }
}

void train_q8_decode(size_t count, const uint8_t *in, float *x)
{
    for (size_t i = 0; i < count; i += TRAIN_Q8_BLOCK, x += TRAIN_Q8_BLOCK, in += TRAIN_Q8_BYTES) {
        const float scale = train_float_from_half((uint16_t)(in[0] | in[1] << 8));

        for (int j = 0; j < TRAIN_Q8_BLOCK; j++)
            x[j] = scale * (float)(int8_t)in[2 + j];
    }
}
