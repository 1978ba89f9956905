// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rows of floats to rows of any weight type and back. Encoding searches scales for the smallest sum
// of squared errors; it is the same on every machine and takes no memory.
#ifndef TENSOR_QUANT_H
#define TENSOR_QUANT_H

#include "tensor/types.h"

#include <stdbool.h>

// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS, MXFP4.
bool tn_quant_encodes(uint32_t type);
// The same types.
bool tn_quant_decodes(uint32_t type);

// `values`: a multiple of the type's block. 0; -ENOTSUP: no such type; -EINVAL: `values` is no
// multiple, or one of them is no finite number; -ERANGE: one is too large for the type's scale.
// After an error `out` may hold anything. `out` has tn_row_bytes bytes, of any alignment.
int tn_quant_encode(uint32_t type, const float *x, uint64_t values, void *out);
// Never fails for types that tn_quant_decodes and whole blocks (values may come out not finite
// where a scale is); otherwise as above.
int tn_quant_decode(uint32_t type, const void *in, uint64_t values, float *x);

#endif
