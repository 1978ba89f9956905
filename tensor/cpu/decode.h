// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Blocks of quantised weights taken apart in plain C: what every other path must agree with.
// Source: the block formats of GGUF.
#ifndef TENSOR_CPU_DECODE_H
#define TENSOR_CPU_DECODE_H

#include "tensor/types.h"

// One block of 32 or 256 weights. Blocks of 32: w = d * q + m. Blocks of 256: w = d * scale[j] * q
// - m * minimum[j], where j is the run of 16 that the weight stands in.
struct tn_decoded {
    int8_t q[256];
    float d, m;
    int8_t scale[16];
    uint8_t minimum[16];
};

// Has the type minima (m and, in blocks of 256, minimum)?
static inline int tn_type_has_minima(uint32_t type)
{
    return type == TN_Q4_1 || type == TN_Q5_1 || type == TN_Q2_K || type == TN_Q4_K ||
           type == TN_Q5_K;
}

// Any computable type but F32, F16 and BF16.
void tn_decode_block(uint32_t type, const uint8_t *block, struct tn_decoded *out);

extern const int8_t tn_codebook_iq4[16];   // IQ4_NL, IQ4_XS
extern const int8_t tn_codebook_mxfp4[16]; // E2M1 numbers times two
// The factor of an MXFP4 block: 2^(e - 128), for numbers times two.
float tn_mxfp4_scale(uint8_t e);
// Eight scales and eight minima of six bits out of the twelve bytes of Q4_K and Q5_K.
void tn_six_bit_scales(const uint8_t b[12], uint8_t scale[8], uint8_t minimum[8]);

#endif
