// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attention over paged KV: a block takes one row's query heads that share a KV head, four at a
// time, and goes through the positions they see in rounds of 128, each rescaled to the greatest
// score so far (the online softmax of Milakov and Gimelshein 2018). Rounds are fixed by position,
// so a result's bits depend on its own query and what it sees.
#ifndef TENSOR_CUDA_KERNEL_ATTENTION_H
#define TENSOR_CUDA_KERNEL_ATTENTION_H

#include "tensor/cuda/kernel_blocks.h"
#include "tensor/cuda/kernel_math.h"
#include "tensor/cuda/kernel_types.h"

enum { ROUND = BLOCK_THREADS, HEADS = CUDA_HEADS_AT_ONCE };

DEVICE float load_number(const uint8_t *from, uint64_t i, uint32_t type)
{
    return type == TN_F32 ? ((const float *)(const void *)from)[i]
                          : half_to_float(((const uint16_t *)(const void *)from)[i]);
}

// Where the KV head's keys in the page of a position begin.
DEVICE const uint8_t *page_of(const struct cuda_attention *p, uint32_t pages, uint32_t position,
                              uint32_t kv_head)
{
    const uint64_t head_bytes = (uint64_t)2 * 32 * p->dim * (p->kv_type == TN_F32 ? 4 : 2);
    return p->kv + p->pages[pages + position / 32] * p->page_bytes + kv_head * head_bytes;
}

DEVICE void score_position(const struct cuda_attention *p, const uint8_t *keys, uint32_t place,
                           const float *queries, float score[HEADS])
{
    for (uint32_t h = 0; h < HEADS; h++) {
        score[h] = 0;
    }
    for (uint32_t d = 0; d < p->dim; d++) {
        float k = load_number(keys, d * 32 + place, p->kv_type);
        for (uint32_t h = 0; h < HEADS; h++) {
            score[h] = __builtin_fmaf(queries[h * p->dim + d], k, score[h]);
        }
    }
    for (uint32_t h = 0; h < HEADS; h++) {
        score[h] *= p->scale;
        if (p->softcap != 0) {
            score[h] = p->softcap * tanh_of(score[h] / p->softcap);
        }
    }
}

// Dimension d mixed over every `step`th position from `first` to `last`, by the weights of a round.
DEVICE void mix_dimension(const struct cuda_attention *p, uint32_t pages, uint32_t kv_head,
                          uint32_t d, uint32_t first, uint32_t last, uint32_t step, uint32_t begin,
                          const float *weights, float mixed[HEADS])
{
    for (uint32_t h = 0; h < HEADS; h++) {
        mixed[h] = 0;
    }
    const uint64_t keys_bytes = (uint64_t)32 * p->dim * (p->kv_type == TN_F32 ? 4 : 2);
    for (uint32_t at = first; at < last; at += step) {
        const uint8_t *values = page_of(p, pages, at, kv_head) + keys_bytes;
        float v = load_number(values, (uint64_t)(at % 32) * p->dim + d, p->kv_type);
        for (uint32_t h = 0; h < HEADS; h++) {
            mixed[h] = __builtin_fmaf(weights[h * ROUND + at - begin], v, mixed[h]);
        }
    }
}

// Of each head's numbers of a round, those of threads t and t + reach.
DEVICE void keep_greater(float *tree, uint32_t t, uint32_t reach)
{
    for (uint32_t h = 0; h < HEADS; h++) {
        float a = tree[h * ROUND + t], b = tree[h * ROUND + t + reach];
        tree[h * ROUND + t] = b > a ? b : a;
    }
}

DEVICE void add_other(float *tree, uint32_t t, uint32_t reach)
{
    for (uint32_t h = 0; h < HEADS; h++) {
        tree[h * ROUND + t] += tree[h * ROUND + t + reach];
    }
}

KERNEL(attention, cuda_attention)
{
    SHARED float queries[HEADS * CUDA_MOST_DIM];
    SHARED float sum[HEADS * CUDA_MOST_DIM];   // what was mixed so far
    SHARED float mixed[HEADS * CUDA_MOST_DIM]; // of a round: [part][head][dim]
    SHARED float weights[HEADS * ROUND];       // scores, then weights
    SHARED float tree[HEADS * ROUND];
    SHARED float greatest[2][HEADS], total[HEADS];
    const struct cuda_row *row = &p.rows[BLOCK_Y];
    const uint32_t sets = (p.group + HEADS - 1) / HEADS, kv_head = BLOCK_X / sets;
    const uint32_t first_head = BLOCK_X % sets * HEADS, left = p.group - first_head;
    const uint32_t heads = left < HEADS ? left : HEADS;
    const uint64_t head = (uint64_t)(kv_head * p.group + first_head);
    const uint64_t at = ((uint64_t)BLOCK_Y * p.kv_heads * p.group + head) * p.dim;
    const uint32_t to = row->position + 1;
    const uint32_t from = p.window && to > p.window ? to - p.window : 0;
    const uint32_t parts = p.dim < BLOCK_THREADS ? BLOCK_THREADS / p.dim : 1;
    const float never = -__builtin_inff();
    EACH_THREAD(t)
    {
        for (uint32_t i = t; i < HEADS * p.dim; i += BLOCK_THREADS) {
            queries[i] = i < heads * p.dim ? p.queries[at + i] : 0;
            sum[i] = 0;
        }
        if (t < HEADS) {
            greatest[0][t] = greatest[1][t] = never;
            total[t] = 0;
        }
    }
    uint32_t now = 1; // which of `greatest` is this round's
    for (uint32_t begin = from / ROUND * ROUND; begin < to; begin += ROUND, now ^= 1) {
        const uint32_t first = from > begin ? from : begin;
        const uint32_t last = to < begin + ROUND ? to : begin + ROUND;
        EACH_THREAD(t)
        {
            float score[HEADS] = {never, never, never, never};
            if (begin + t >= first && begin + t < last) {
                score_position(&p, page_of(&p, row->pages, begin + t, kv_head), t % 32, queries,
                               score);
            }
            for (uint32_t h = 0; h < HEADS; h++) {
                weights[h * ROUND + t] = tree[h * ROUND + t] = score[h];
            }
        }
        TREE(ROUND, ROUND, keep_greater(tree, t, reach));
        EACH_THREAD(t)
        {
            if (t < HEADS) {
                float before = greatest[now ^ 1][t], most = tree[t * ROUND];
                greatest[now][t] = most > before ? most : before;
            }
        }
        EACH_THREAD(t)
        {
            for (uint32_t h = 0; h < HEADS; h++) {
                float w = exp_or_zero(weights[h * ROUND + t] - greatest[now][h]);
                weights[h * ROUND + t] = tree[h * ROUND + t] = w;
            }
        }
        TREE(ROUND, ROUND, add_other(tree, t, reach));
        EACH_THREAD(t)
        {
            for (uint32_t i = t; i < parts * p.dim; i += BLOCK_THREADS) {
                float some[HEADS];
                mix_dimension(&p, row->pages, kv_head, i % p.dim, first + i / p.dim, last, parts,
                              begin, weights, some);
                for (uint32_t h = 0; h < HEADS; h++) {
                    mixed[(i / p.dim * HEADS + h) * p.dim + i % p.dim] = some[h];
                }
            }
        }
        EACH_THREAD(t)
        {
            for (uint32_t i = t; i < HEADS * p.dim; i += BLOCK_THREADS) {
                uint32_t h = i / p.dim;
                float old = exp_or_zero(greatest[now ^ 1][h] - greatest[now][h]), new_sum = 0;
                for (uint32_t part = 0; part < parts; part++) {
                    new_sum += mixed[part * HEADS * p.dim + i];
                }
                sum[i] = __builtin_fmaf(sum[i], old, new_sum);
            }
            if (t < HEADS) {
                float old = exp_or_zero(greatest[now ^ 1][t] - greatest[now][t]);
                total[t] = __builtin_fmaf(total[t], old, tree[t * ROUND]);
            }
        }
    }
    EACH_THREAD(t)
    {
        for (uint32_t i = t; i < heads * p.dim; i += BLOCK_THREADS) {
            uint32_t h = i / p.dim;
            float most = greatest[now ^ 1][h], all = total[h], x = sum[i];
            if (p.sinks) {
                float sink = p.sinks[head + h], next = sink > most ? sink : most;
                float old = exp_or_zero(most - next);
                all = __builtin_fmaf(all, old, exp_or_zero(sink - next));
                x *= old;
            }
            p.out[at + i] = x / all;
        }
    }
}

#endif
