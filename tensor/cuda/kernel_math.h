// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Exponential, hyperbolic tangent and the activations, one value at a time: the polynomials of
// tensor/cpu/row_math.h, good to 3e-7 of the result.
#ifndef TENSOR_CUDA_KERNEL_MATH_H
#define TENSOR_CUDA_KERNEL_MATH_H

#include "tensor/cuda/kernel_language.h"

enum { CUDA_NONE, CUDA_SILU, CUDA_GELU, CUDA_GELU_ERF, CUDA_SWIGLU_OAI }; // enum ir_activation's

// x = n ln 2 + r. Returns exp(r) - 1; *power = 2^n. |x| <= 88.
DEVICE float exp_parts(float x, float *power)
{
    const float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    float t = __builtin_fmaf(x, 1.44269504f, shift), n = t - shift;
    float r = __builtin_fmaf(n, -0.693359375f, x);
    r = __builtin_fmaf(n, 2.12194440e-4f, r);
    float q = 1.39261836e-3f;
    q = __builtin_fmaf(q, r, 8.36317905e-3f);
    q = __builtin_fmaf(q, r, 4.16665546e-2f);
    q = __builtin_fmaf(q, r, 1.6666577e-1f);
    q = __builtin_fmaf(q, r, 0.5f);
    *power = bits_float((float_bits(t) - float_bits(shift) + 127u) << 23);
    return __builtin_fmaf(r * r, q, r);
}

// For x <= 88: exp(x), and 0 below -87.
DEVICE float exp_or_zero(float x)
{
    if (!(x >= -87.0f)) {
        return 0;
    }
    float power, e = exp_parts(x, &power);
    return __builtin_fmaf(e, power, power);
}

DEVICE float tanh_of(float x)
{
    float twice = x + x, power;
    twice = twice < -20.0f ? -20.0f : twice > 20.0f ? 20.0f : twice;
    float e = exp_parts(twice, &power);
    e = __builtin_fmaf(e, power, power - 1);
    return e / (e + 2);
}

// x / (1 + exp(-steep x)); 0 where that exponential is beyond numbers.
DEVICE float silu_of(float x, float steep)
{
    float z = x * steep;
    return z < -87.0f ? 0 : x / (1 + exp_or_zero(-z));
}

// The normal distribution's tail as in row_math.h.
DEVICE float gelu_erf_of(float x)
{
    const float c[11] = {1.06345154e-1f, -1.87139699e-1f, 1.25855252e-1f,  -6.16394298e-2f,
                         1.90656482e-2f, -1.56136648e-3f, -1.38166049e-3f, 3.89856872e-4f,
                         1.34021321e-4f, -5.16443253e-5f, -2.06968885e-5f};
    float size = x < 0 ? -x : x, y = size < 14.5f ? size : 14.5f;
    float u = (y - 3.5f) / (y + 3.5f), r = c[10];
    for (int i = 9; i >= 0; i--) {
        r = __builtin_fmaf(r, u, c[i]);
    }
    float tail = exp_or_zero(y * y * -0.5f) * r;
    return __builtin_fmaf(-size, tail, x > 0 ? x : 0);
}

DEVICE float activate(uint32_t activation, float x)
{
    switch (activation) {
    case CUDA_SILU:
        return silu_of(x, 1);
    case CUDA_GELU:
        return silu_of(x, __builtin_fmaf(x * x, 0.0713548162f, 1.59576912f));
    case CUDA_GELU_ERF:
        return gelu_erf_of(x);
    default:
        return x;
    }
}

DEVICE float gate_of(uint32_t activation, float gate, float up)
{
    if (activation == CUDA_SWIGLU_OAI) {
        gate = silu_of(gate < 7 ? gate : 7, 1.702f);
        up = (up < -7 ? -7 : up > 7 ? 7 : up) + 1;
        return gate * up;
    }
    return activate(activation, gate) * up;
}

#endif
