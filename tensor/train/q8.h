/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Q8_0: blocks of 32 weights as one half-precision scale and 32 signed bytes.
 */
#ifndef TRAIN_Q8_H
#define TRAIN_Q8_H

#include <stddef.h>
#include <stdint.h>

enum { TRAIN_Q8_BLOCK = 32, TRAIN_Q8_BYTES = 34 };

/* `count` is a multiple of 32; `out` has room for count / 32 * 34 bytes. */
void train_q8_encode(size_t count, const float *x, uint8_t *out);
void train_q8_decode(size_t count, const uint8_t *in, float *x);

/* Half precision, rounded to nearest even. */
uint16_t train_half_from_float(float value);
float train_float_from_half(uint16_t half);

#endif
