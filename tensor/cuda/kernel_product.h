// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Products of weights and the step's rows. A block takes 8 rows of the weights and 1 or 8 of the
// step; 32 lanes share a row of the weights. Lane l takes values 8l … 8l + 7 of each 256 in one
// ascending chain; lanes are added in halves. So a result's bits depend on its own two rows alone.
#ifndef TENSOR_CUDA_KERNEL_PRODUCT_H
#define TENSOR_CUDA_KERNEL_PRODUCT_H

#include "tensor/cuda/kernel_blocks.h"
#include "tensor/cuda/kernel_math.h"
#include "tensor/cuda/kernel_types.h"

enum { LANES = 32, LANE_ROWS = CUDA_PRODUCT_ROWS * LANES / BLOCK_THREADS };

// Eight of the input; those past `columns` are 0.
DEVICE void input_eight(const float *in, uint32_t at, uint32_t columns, float *out)
{
    if (columns % 8 == 0) {
        *(four_floats *)(void *)out = *(const four_floats *)(const void *)(in + at);
        *(four_floats *)(void *)(out + 4) = *(const four_floats *)(const void *)(in + at + 4);
        return;
    }
    for (uint32_t i = 0; i < 8; i++) {
        out[i] = at + i < columns ? in[at + i] : 0;
    }
}

// The lane's part of LANE_ROWS weight rows by up to `many` input rows.
DEVICE void lane_sums(const struct cuda_product *p, const uint32_t type, const uint32_t many,
                      uint32_t output, uint32_t row, uint32_t lane,
                      float sum[LANE_ROWS][CUDA_PRODUCT_COLUMNS])
{
    UNROLLED
    for (uint32_t r = 0; r < LANE_ROWS; r++) {
        UNROLLED
        for (uint32_t c = 0; c < many; c++) {
            sum[r][c] = 0;
        }
    }
    for (uint32_t at = lane * 8; at < p->columns; at += LANES * 8) {
        float w[LANE_ROWS][8];
        for (uint32_t r = 0; r < LANE_ROWS; r++) {
            // Past the end the last one is taken again, and dropped later.
            uint32_t from = output + r < p->outputs ? output + r : p->outputs - 1;
            weights_eight(p->weights + from * p->row_bytes, type, at, p->columns, w[r]);
        }
        UNROLLED
        for (uint32_t c = 0; c < many; c++) {
            __attribute__((aligned(16))) float x[8];
            uint64_t from = row + c < p->rows ? row + c : p->rows - 1;
            input_eight(p->in + from * p->columns, at, p->columns, x);
            for (uint32_t r = 0; r < LANE_ROWS; r++) {
                for (uint32_t i = 0; i < 8; i++) {
                    sum[r][c] = __builtin_fmaf(w[r][i], x[i], sum[r][c]);
                }
            }
        }
    }
}

DEVICE void finish_output(const struct cuda_product *p, uint32_t output, uint32_t row, float sum)
{
    if (output >= p->outputs || row >= p->rows) {
        return;
    }
    uint64_t at = (uint64_t)row * p->outputs + output;
    sum = p->bias ? sum + p->bias[output] : sum;
    sum = activate(p->activation, sum);
    sum = p->residual ? sum + p->residual[at] : sum;
    p->out[at] = p->softcap != 0 ? p->softcap * tanh_of(sum / p->softcap) : sum;
}

// A thread's sums to where all see them: [weights' row of the lane's][input row][thread].
DEVICE void show_sums(const uint32_t many, const float sum[LANE_ROWS][CUDA_PRODUCT_COLUMNS],
                      uint32_t t, float (*sums)[BLOCK_THREADS])
{
    UNROLLED
    for (uint32_t i = 0; i < LANE_ROWS * many; i++) {
        sums[i][t] = sum[i / many][i % many];
    }
}

DEVICE void add_lane(const uint32_t many, uint32_t t, uint32_t reach, float (*sums)[BLOCK_THREADS])
{
    for (uint32_t i = 0; i < LANE_ROWS * many; i++) {
        sums[i][t] += sums[i][t + reach];
    }
}

// One output of the block for each of the first threads.
DEVICE void finish(const struct cuda_product *p, const uint32_t many, uint32_t output, uint32_t row,
                   uint32_t t, float (*sums)[BLOCK_THREADS])
{
    if (t < CUDA_PRODUCT_ROWS * many) {
        uint32_t r = t / many, c = t % many;
        finish_output(p, output + r, row + c,
                      sums[r % LANE_ROWS * many + c][r / LANE_ROWS * LANES]);
    }
}

#define PRODUCT_KERNEL(NAME, TYPE, MANY)                                                           \
    KERNEL(NAME, cuda_product)                                                                     \
    {                                                                                              \
        SHARED float sums[LANE_ROWS * (MANY)][BLOCK_THREADS];                                      \
        const uint32_t output = BLOCK_X * CUDA_PRODUCT_ROWS, row = BLOCK_Y * (MANY);               \
        EACH_THREAD(t)                                                                             \
        {                                                                                          \
            float sum[LANE_ROWS][CUDA_PRODUCT_COLUMNS];                                            \
            lane_sums(&p, TYPE, MANY, output + t / LANES * LANE_ROWS, row, t % LANES, sum);        \
            show_sums(MANY, sum, t, sums);                                                         \
        }                                                                                          \
        TREE(LANES, LANES, add_lane(MANY, t, reach, sums));                                        \
        EACH_THREAD(t)                                                                             \
        {                                                                                          \
            finish(&p, MANY, output, row, t, sums);                                                \
        }                                                                                          \
    }
#define PRODUCT_KERNELS(NAME, TYPE)                                                                \
    PRODUCT_KERNEL(product_##NAME##_1, TYPE, 1)                                                    \
    PRODUCT_KERNEL(product_##NAME##_8, TYPE, CUDA_PRODUCT_COLUMNS)
CUDA_WEIGHT_TYPES(PRODUCT_KERNELS)

#endif
