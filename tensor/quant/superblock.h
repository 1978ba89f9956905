// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Super-blocks of 256: runs of 16 or 32 values have small whole scales (and minima), which share
// one half-precision factor each. Chosen together so that the whole block's squared error is small.
#ifndef TENSOR_QUANT_SUPERBLOCK_H
#define TENSOR_QUANT_SUPERBLOCK_H

#include "tensor/quant/quant_private.h"

enum { QUANT_SUPER = 256, QUANT_SUPER_RUNS = 16 };

// value = d * scale[run] * q
struct quant_signed_super {
    float d; // as stored
    int8_t scale[QUANT_SUPER_RUNS];
    int8_t q[QUANT_SUPER];
};
struct quant_signed_rules {
    unsigned run;              // values a run has: 16
    int scale_low, scale_high; // of the scales
    int low, high;             // of q
};
int quant_signed_super(const float *x, const struct quant_signed_rules *rules,
                       struct quant_signed_super *out);

// value = d * scale[run] * q - minimum_d * minimum[run]
struct quant_line_super {
    float d, minimum_d; // as stored
    uint8_t scale[QUANT_SUPER_RUNS], minimum[QUANT_SUPER_RUNS];
    uint8_t q[QUANT_SUPER];
};
struct quant_line_rules {
    unsigned run;   // 16 or 32
    int scale_high; // of scales and minima: [0, scale_high]
    int high;       // of q: [0, high]
};
int quant_line_super(const float *x, const struct quant_line_rules *rules,
                     struct quant_line_super *out);

#endif
