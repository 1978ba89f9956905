// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels of elements.h, written once over sixteen floats: include after one simd_*.h.
#ifndef TENSOR_OPS_ELEMENTS_FUNCTIONS_H
#define TENSOR_OPS_ELEMENTS_FUNCTIONS_H

#include "tensor/cpu/row_kernels.h"
#include "tensor/cpu/row_math.h"
#include "tensor/ops.h"
#include "tensor/ops/elements.h"

// Sixteen values from i on, or as many as are left.
ROW_INLINE v16 load_at(const float *p, size_t i, size_t n)
{
    return n - i < 16 ? v_load_some(p + i, n - i) : v_load(p + i);
}

ROW_INLINE void store_at(float *p, size_t i, size_t n, v16 x)
{
    if (n - i < 16) {
        v_store_some(p + i, x, n - i);
    } else {
        v_store(p + i, x);
    }
}

ROW_INLINE v16 combine_16(const uint32_t kind, v16 a, v16 b)
{
    return kind == TN_OPS_ADD   ? v_add(a, b)
           : kind == TN_OPS_SUB ? v_sub(a, b)
           : kind == TN_OPS_MUL ? v_mul(a, b)
                                : v_div(a, b);
}

ROW_INLINE void combine_all(const uint32_t kind, float *out, const float *a, const float *b,
                            bool one, size_t n)
{
    v16 same = v_set1(one ? *b : 0);
    for (size_t i = 0; i < n; i += 16) {
        store_at(out, i, n, combine_16(kind, load_at(a, i, n), one ? same : load_at(b, i, n)));
    }
}

static void combine_values(uint32_t kind, float *out, const float *a, const float *b, bool one,
                           size_t n)
{
    switch (kind) {
    case TN_OPS_ADD:
        combine_all(TN_OPS_ADD, out, a, b, one, n);
        break;
    case TN_OPS_SUB:
        combine_all(TN_OPS_SUB, out, a, b, one, n);
        break;
    case TN_OPS_MUL:
        combine_all(TN_OPS_MUL, out, a, b, one, n);
        break;
    default:
        combine_all(TN_OPS_DIV, out, a, b, one, n);
    }
}

static void scale_values(float *out, const float *x, float factor, float addend, size_t n)
{
    v16 f = v_set1(factor), a = v_set1(addend);
    for (size_t i = 0; i < n; i += 16) {
        store_at(out, i, n, v_add(v_mul(load_at(x, i, n), f), a));
    }
}

// Activations that models have are the model executor's.
ROW_INLINE v16 act_16(const uint32_t activation, v16 x)
{
    switch (activation) {
    case TN_OPS_ACT_SILU:
        return activate_16(IR_SILU, x);
    case TN_OPS_ACT_GELU:
        return activate_16(IR_GELU, x);
    case TN_OPS_ACT_GELU_ERF:
        return activate_16(IR_GELU_ERF, x);
    case TN_OPS_ACT_RELU:
        return v_max(v_set1(0), x); // what is not a number stays so
    case TN_OPS_ACT_SIGMOID:
        return v_div(v_set1(1), v_add(v_set1(1), exp_16(v_sub(v_set1(0), x))));
    case TN_OPS_ACT_TANH:
        return tanh_16(x);
    default:
        return x;
    }
}

ROW_INLINE void activate_run(const uint32_t activation, float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        store_at(out, i, n, act_16(activation, load_at(x, i, n)));
    }
}

ROW_INLINE void gate_run(const uint32_t activation, float *out, const float *a, const float *b,
                         size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        v16 x = load_at(a, i, n), y = load_at(b, i, n);
        x = activation == TN_OPS_ACT_SWIGLU_OAI ? gate_16(IR_SWIGLU_OAI, x, y)
                                                : v_mul(act_16(activation, x), y);
        store_at(out, i, n, x);
    }
}

// One loop for each activation, so that none is chosen anew for every sixteen values.
#define EACH_ACTIVATION(CALL)                                                                      \
    switch (activation) {                                                                          \
    case TN_OPS_ACT_SILU:                                                                          \
        CALL(TN_OPS_ACT_SILU);                                                                     \
        break;                                                                                     \
    case TN_OPS_ACT_GELU:                                                                          \
        CALL(TN_OPS_ACT_GELU);                                                                     \
        break;                                                                                     \
    case TN_OPS_ACT_GELU_ERF:                                                                      \
        CALL(TN_OPS_ACT_GELU_ERF);                                                                 \
        break;                                                                                     \
    case TN_OPS_ACT_RELU:                                                                          \
        CALL(TN_OPS_ACT_RELU);                                                                     \
        break;                                                                                     \
    case TN_OPS_ACT_SIGMOID:                                                                       \
        CALL(TN_OPS_ACT_SIGMOID);                                                                  \
        break;                                                                                     \
    case TN_OPS_ACT_TANH:                                                                          \
        CALL(TN_OPS_ACT_TANH);                                                                     \
        break;                                                                                     \
    case TN_OPS_ACT_SWIGLU_OAI:                                                                    \
        CALL(TN_OPS_ACT_SWIGLU_OAI);                                                               \
        break;                                                                                     \
    default:                                                                                       \
        CALL(TN_OPS_ACT_NONE);                                                                     \
        break;                                                                                     \
    }

static void activate_values(uint32_t activation, float *out, const float *x, size_t n)
{
#define CALL(A) activate_run(A, out, x, n)
    EACH_ACTIVATION(CALL)
#undef CALL
}

static void gate_values(uint32_t activation, float *out, const float *a, const float *b, size_t n)
{
#define CALL(A) gate_run(A, out, a, b, n)
    EACH_ACTIVATION(CALL)
#undef CALL
}

static float sum_values(const float *x, size_t n)
{
    v16 sum = v_set1(0);
    for (size_t i = 0; i < n; i += 16) {
        sum = v_add(sum, load_at(x, i, n));
    }
    return v_sum(sum);
}

static float greatest_value(const float *x, size_t n)
{
    v16 most = v_set1(-__builtin_inff());
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        most = v_max(v_load(x + i), most);
    }
    float greatest = v_greatest(most);
    for (; i < n; i++) {
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    return greatest;
}

static void softmax_values(float *out, const float *x, float scale, size_t n)
{
    // The greatest of what is exponentiated, so that memory that changes cannot turn signs.
    scale_values(out, x, scale, 0, n);
    v16 top = v_set1(greatest_value(out, n)), sum = v_set1(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 weight = exp_or_zero(v_sub(v_load(out + i), top));
        v_store(out + i, weight);
        sum = v_add(sum, weight);
    }
    if (i < n) { // lanes beyond the end weigh nothing
        float last[16] = {0};
        v_store_some(last, exp_or_zero(v_sub(v_load_some(out + i, n - i), top)), n - i);
        v_store_some(out + i, v_load(last), n - i);
        sum = v_add(sum, v_load(last));
    }
    scale_values(out, out, 1.0f / v_sum(sum), 0, n);
}

#define OPS_KERNELS                                                                                \
    {                                                                                              \
        .combine = combine_values, .scale = scale_values, .activate = activate_values,             \
        .gate = gate_values, .softmax = softmax_values, .sum = sum_values,                         \
        .greatest = greatest_value,                                                                \
    }

#endif
