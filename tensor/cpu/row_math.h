// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Exponential, hyperbolic tangent and the activations over sixteen floats, good to 3e-7 of the
// result (GELU by tanh, below zero: to 1e-7 of it for each unit of the exponent). Polynomials were
// interpolated at Chebyshev nodes. Include after one simd_*.h.
#ifndef TENSOR_CPU_ROW_MATH_H
#define TENSOR_CPU_ROW_MATH_H

#define ROW_INLINE static inline __attribute__((always_inline))

// x = n ln 2 + r, |r| <= ln 2 / 2. Returns exp(r) - 1; *power = 2^n. |x| <= 88.
ROW_INLINE v16 exp_parts(v16 x, v16 *power)
{
    const v16 shift = v_set1(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
    v16 t = v_fma(x, v_set1(1.44269504f), shift), n = v_sub(t, shift);
    // ln 2 in two parts, the first with few bits, so that n times it is exact.
    v16 r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    v16 q = v_set1(1.39261836e-3f); // (exp(r) - 1 - r) / r^2
    q = v_fma(q, r, v_set1(8.36317905e-3f));
    q = v_fma(q, r, v_set1(4.16665546e-2f));
    q = v_fma(q, r, v_set1(1.6666577e-1f));
    q = v_fma(q, r, v_set1(0.5f));
    *power = v_power_of_two(t);
    return v_fma(v_mul(r, r), q, r);
}

// exp(x), x held between -87 and 88.
ROW_INLINE v16 exp_16(v16 x)
{
    v16 power, p = exp_parts(v_min(v_max(x, v_set1(-87.0f)), v_set1(88.0f)), &power);
    return v_fma(p, power, power);
}

// For x <= 88: exp(x), and 0 below -87 (what the parts make of that is dropped).
ROW_INLINE v16 exp_or_zero(v16 x)
{
    v16 power, p = exp_parts(x, &power);
    return v_zero_below(x, -87.0f, v_fma(p, power, power));
}

// From exp(2x) - 1, which keeps small x exact: tanh x = e / (e + 2).
ROW_INLINE v16 tanh_16(v16 x)
{
    v16 twice = v_min(v_max(v_add(x, x), v_set1(-20.0f)), v_set1(20.0f));
    v16 power, p = exp_parts(twice, &power);
    v16 e = v_fma(p, power, v_sub(power, v_set1(1)));
    return v_div(e, v_add(e, v_set1(2)));
}

// x / (1 + exp(-steep x)); 0 where that exponential is beyond numbers.
ROW_INLINE v16 silu_16(v16 x, v16 steep)
{
    v16 z = v_mul(x, steep), e = exp_16(v_sub(v_set1(0), z));
    return v_zero_below(z, -87.0f, v_div(x, v_add(v_set1(1), e)));
}

// 0.5 (1 + tanh u) = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
ROW_INLINE v16 gelu_tanh_16(v16 x)
{
    v16 steep = v_fma(v_mul(x, x), v_set1(0.0713548162f), v_set1(1.59576912f));
    return silu_16(x, steep);
}

// x P(x), P the normal distribution: for y = |x|, P(-y) = exp(-y^2 / 2) R(y), R a polynomial in
// (y - 3.5) / (y + 3.5) for y up to 14.5; beyond, the exponential is nothing.
ROW_INLINE v16 gelu_erf_16(v16 x)
{
    static const float c[11] = {1.06345154e-1f, -1.87139699e-1f, 1.25855252e-1f,  -6.16394298e-2f,
                                1.90656482e-2f, -1.56136648e-3f, -1.38166049e-3f, 3.89856872e-4f,
                                1.34021321e-4f, -5.16443253e-5f, -2.06968885e-5f};
    v16 y = v_min(v_abs(x), v_set1(14.5f));
    v16 u = v_div(v_sub(y, v_set1(3.5f)), v_add(y, v_set1(3.5f)));
    v16 r = v_set1(c[10]);
    for (int i = 9; i >= 0; i--) {
        r = v_fma(r, u, v_set1(c[i]));
    }
    v16 tail = v_mul(exp_or_zero(v_mul(v_mul(y, y), v_set1(-0.5f))), r);
    return v_fma(v_sub(v_set1(0), v_abs(x)), tail, v_max(x, v_set1(0)));
}

ROW_INLINE v16 activate_16(const enum ir_activation a, v16 x)
{
    return a == IR_SILU       ? silu_16(x, v_set1(1))
           : a == IR_GELU     ? gelu_tanh_16(x)
           : a == IR_GELU_ERF ? gelu_erf_16(x)
                              : x;
}

ROW_INLINE v16 gate_16(const enum ir_activation a, v16 gate, v16 up)
{
    if (a == IR_SWIGLU_OAI) {
        v16 seven = v_set1(7);
        gate = silu_16(v_min(gate, seven), v_set1(1.702f));
        up = v_add(v_min(v_max(up, v_set1(-7)), seven), v_set1(1));
    } else {
        gate = activate_16(a, gate);
    }
    return v_mul(gate, up);
}

#endif
