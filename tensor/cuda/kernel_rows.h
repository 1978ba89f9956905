// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Kernels that take rows: embedding, norms, turns, element by element, and storing K and V.
#ifndef TENSOR_CUDA_KERNEL_ROWS_H
#define TENSOR_CUDA_KERNEL_ROWS_H

#include "tensor/cuda/kernel_blocks.h"
#include "tensor/cuda/kernel_math.h"
#include "tensor/cuda/kernel_types.h"

KERNEL(embed, cuda_embed)
{
    EACH_THREAD(t)
    {
        uint32_t at = (BLOCK_X * BLOCK_THREADS + t) * 8;
        if (at >= p.columns) {
            continue;
        }
        float eight[8];
        const struct cuda_row *row = &p.rows[BLOCK_Y];
        uint64_t from = p.by_position ? row->position : (uint32_t)row->token;
        uint64_t to = (uint64_t)BLOCK_Y * p.columns + at;
        weights_eight(p.weights + from * p.row_bytes, p.type, at, p.columns, eight);
        for (uint32_t i = 0; i < 8 && at + i < p.columns; i++) {
            p.out[to + i] = p.in ? p.in[to + i] + eight[i] : eight[i] * p.number;
        }
    }
}

KERNEL(norm, cuda_norm)
{
    SHARED float sums[BLOCK_THREADS], squares[BLOCK_THREADS];
    const uint64_t at = ((uint64_t)BLOCK_Y * p.parts + BLOCK_X) * p.length;
    EACH_THREAD(t)
    {
        sums[t] = 0;
        for (uint32_t i = t; p.centred && i < p.length; i += BLOCK_THREADS) {
            sums[t] += p.in[at + i];
        }
    }
    TREE(BLOCK_THREADS, BLOCK_THREADS, sums[t] += sums[t + reach]);
    EACH_THREAD(t)
    {
        float mean = sums[0] / (float)p.length;
        squares[t] = 0;
        for (uint32_t i = t; i < p.length; i += BLOCK_THREADS) {
            float d = p.in[at + i] - mean;
            squares[t] = __builtin_fmaf(d, d, squares[t]);
        }
    }
    TREE(BLOCK_THREADS, BLOCK_THREADS, squares[t] += squares[t + reach]);
    EACH_THREAD(t)
    {
        float mean = sums[0] / (float)p.length;
        float r = 1.0f / __builtin_sqrtf(squares[0] / (float)p.length + p.epsilon);
        for (uint32_t i = t; i < p.length; i += BLOCK_THREADS) {
            float y = (p.in[at + i] - mean) * r * p.weight[i];
            p.out[at + i] = p.bias ? y + p.bias[i] : y;
        }
    }
}

KERNEL(turn, cuda_turn)
{
    SHARED float sums[BLOCK_THREADS];
    SHARED float head[CUDA_MOST_DIM];
    const uint64_t at = ((uint64_t)BLOCK_Y * p.heads + BLOCK_X) * p.dim;
    EACH_THREAD(t)
    {
        sums[t] = 0;
        for (uint32_t i = t; i < p.dim; i += BLOCK_THREADS) {
            head[i] = p.in[at + i];
            sums[t] = __builtin_fmaf(head[i], head[i], sums[t]);
        }
    }
    if (p.weight) {
        TREE(BLOCK_THREADS, BLOCK_THREADS, sums[t] += sums[t + reach]);
        EACH_THREAD(t)
        {
            float r = 1.0f / __builtin_sqrtf(sums[0] / (float)p.dim + p.epsilon);
            for (uint32_t i = t; i < p.dim; i += BLOCK_THREADS) {
                head[i] = head[i] * r * p.weight[i];
            }
        }
    }
    EACH_THREAD(t)
    {
        const float *cosines = p.turns + (uint64_t)BLOCK_Y * p.turn_stride;
        const float *sines = cosines + p.pairs;
        for (uint32_t i = t; i < p.pairs; i += BLOCK_THREADS) {
            uint32_t first = p.split_halves ? i : 2 * i;
            uint32_t second = p.split_halves ? i + p.pairs : 2 * i + 1;
            float a = head[first], b = head[second];
            p.out[at + first] = __builtin_fmaf(a, cosines[i], -(b * sines[i]));
            p.out[at + second] = __builtin_fmaf(b, cosines[i], a * sines[i]);
        }
        for (uint32_t i = 2 * p.pairs + t; i < p.dim; i += BLOCK_THREADS) {
            p.out[at + i] = head[i];
        }
    }
}

KERNEL(elements, cuda_elements)
{
    EACH_THREAD(t)
    {
        uint64_t i = (uint64_t)BLOCK_X * BLOCK_THREADS + t;
        if (i >= p.count) {
            continue;
        }
        switch (p.operation) {
        case CUDA_ADD:
            p.out[i] = p.a[i] + p.b[i];
            break;
        case CUDA_ADD_VECTOR:
            p.out[i] = p.a[i] + p.b[i % p.columns];
            break;
        case CUDA_ACTIVATE:
            p.out[i] = activate(p.activation, p.a[i]);
            break;
        default:
            p.out[i] = gate_of(p.activation, p.a[i], p.b[i]);
        }
    }
}

KERNEL(take, cuda_take)
{
    EACH_THREAD(t)
    {
        uint32_t i = BLOCK_X * BLOCK_THREADS + t;
        if (i < p.columns) {
            p.out[(uint64_t)BLOCK_Y * p.columns + i] =
                p.in[(uint64_t)p.rows[BLOCK_Y] * p.columns + i];
        }
    }
}

DEVICE void store_number(uint8_t *to, uint64_t i, uint32_t type, float x)
{
    if (type == TN_F32) {
        ((float *)(void *)to)[i] = x;
    } else {
        ((uint16_t *)(void *)to)[i] = float_to_half(x);
    }
}

KERNEL(kv_store, cuda_kv_store)
{
    EACH_THREAD(t)
    {
        const struct cuda_row *row = &p.rows[BLOCK_Y];
        const uint32_t bytes = p.kv_type == TN_F32 ? 4 : 2, place = row->position % 32;
        const uint64_t head_bytes = (uint64_t)2 * 32 * p.dim * bytes;
        const uint64_t head = (uint64_t)BLOCK_Y * p.kv_heads + BLOCK_X;
        uint8_t *keys =
            p.kv + p.pages[row->pages + row->position / 32] * p.page_bytes + BLOCK_X * head_bytes;
        uint8_t *values = keys + head_bytes / 2;
        uint8_t *fresh = p.fresh ? p.fresh + head * 2 * p.dim * bytes : 0;
        for (uint32_t i = t; i < p.dim; i += BLOCK_THREADS) {
            float k = p.keys[head * p.dim + i], v = p.values[head * p.dim + i];
            store_number(keys, i * 32 + place, p.kv_type, k);
            store_number(values, (uint64_t)place * p.dim + i, p.kv_type, v);
            if (fresh) {
                store_number(fresh, i, p.kv_type, k);
                store_number(fresh, p.dim + i, p.kv_type, v);
            }
        }
    }
}

#endif
