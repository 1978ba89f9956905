/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The row-wise operations of a llama network and their derivatives. Matrices are dense, one row a
 * token; a function whose name ends in _back adds to parameter gradients and says what else it adds
 * to. Any thread may call them on memory of its own.
 */
#ifndef TRAIN_OPS_H
#define TRAIN_OPS_H

#include <stddef.h>
#include <stdint.h>

/* out = x / rms(x) * gain, row by row; `inverse` keeps 1 / rms(x) for the way back. */
void train_rmsnorm(size_t rows, size_t width, const float *x, const float *gain, float epsilon,
                   float *out, float *inverse);

/* Adds to `d_x` and `d_gain`. */
void train_rmsnorm_back(size_t rows, size_t width, const float *x, const float *gain,
                        const float *inverse, const float *d_out, float *d_x, float *d_gain);

/*
 * Turns adjacent pairs of each head by the angles of the row's position (RoPE, NORM type). `table`
 * holds cosine and sine for each position and pair; sign -1 turns back, which is the derivative.
 */
void train_rope(size_t rows, size_t heads, size_t head_width, const uint32_t *positions,
                const float *table, float sign, float *x);

/* out = silu(gate) * up. */
void train_swiglu(size_t count, const float *gate, const float *up, float *out);

/* Overwrites `d_gate` and `d_up`. */
void train_swiglu_back(size_t count, const float *gate, const float *up, const float *d_out,
                       float *d_gate, float *d_up);

/*
 * Causal softmax in place of the scores of `rows` tokens that follow `first` others, first + rows
 * columns a row: row i sees columns 0 .. first + i, the rest becomes 0.
 */
void train_softmax_causal(size_t rows, size_t first, float scale, float *scores);

/* From such probabilities and their gradient (overwritten) to the gradient of the scores. */
void train_softmax_causal_back(size_t rows, size_t first, float scale, const float *probabilities,
                               float *d);

/*
 * Loss of one row of logits, -log softmax(logits)[target]; the logits become their gradient times
 * `scale`. `best` receives the index of the largest logit, the first of equals.
 */
float train_cross_entropy(size_t width, uint32_t target, float scale, float *logits,
                          uint32_t *best);

/* x += y */
void train_add(size_t count, const float *y, float *x);

/* The sum of squares, in a fixed order of additions. */
double train_sum_squares(size_t count, const float *x);

struct train_adam {
    float rate, beta1, beta2, epsilon, decay;
    float correction1, correction2; /* 1 - beta^step */
    float clip;                     /* the factor that clips the gradient */
};

/* One AdamW step for `count` parameters with first and second moments `m` and `v`. */
void train_adamw(size_t count, const struct train_adam *adam, const float *gradient, float *m,
                 float *v, float *parameters);

#endif
