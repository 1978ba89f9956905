// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as floats to every type and back, and as blocks of every type to floats and again to
// blocks: what is encoded decodes to finite numbers not far from where it came from.
//
// Links: tensor/quant/quant.c tensor/quant/fit.c tensor/quant/plain.c tensor/quant/blocks32.c
// Links: tensor/quant/superblock.c tensor/quant/k_signed.c tensor/quant/k_minimum.c
// Links: tensor/quant/codebook.c tensor/quant/types.c
#include "tensor/quant.h"

#include "tensor/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { VALUES = 512 };

static void there_and_back(uint32_t type, const float *x, uint64_t n)
{
    float *back = malloc(n * sizeof *back);
    uint8_t *blocks = malloc(tn_row_bytes(type, n)); // exact, for the sanitizer
    double error = 0, square = 0;
    int rc = tn_quant_encode(type, x, n, blocks);
    bool tame = true; // within what a least-squares fit can be judged by
    for (uint64_t i = 0; i < n; i++)
        tame = tame && fabsf(x[i]) < 1e6f && (x[i] == 0 || fabsf(x[i]) > 1e-2f);
    if (!rc) {
        if (tn_quant_decode(type, blocks, n, back))
            abort();
        for (uint64_t i = 0; i < n; i++) {
            if (!isfinite(back[i]))
                abort();
            error += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
            square += (double)x[i] * (double)x[i];
        }
        // Zeros everywhere would leave 1.
        if (tame && error > square * 1.0001)
            abort();
    }
    free(back);
    free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    uint32_t type = data[0] % TN_TYPE_LIMIT;
    if (!tn_quant_encodes(type))
        return 0;
    const struct tn_type_info *info = tn_type_info(type);
    bool scaled = data[1] & 1;
    data += 2;
    bytes -= 2;
    float x[VALUES];
    uint64_t n = 0;
    if (data[-1] & 2) { // as blocks
        uint64_t blocks = bytes / info->block_bytes, most = VALUES / info->block_values;
        blocks = blocks < most ? blocks : most;
        n = blocks * info->block_values;
        if (tn_quant_decode(type, data, n, x))
            abort();
    } else {
        for (; n < VALUES && 4 * n + 4 <= bytes; n++) {
            memcpy(&x[n], data + 4 * n, 4);
            if (scaled) // numbers as weights have them
                x[n] = (float)(int8_t)data[4 * n] * 0.0625f;
        }
        n -= n % info->block_values;
    }
    if (n)
        there_and_back(type, x, n);
    return 0;
}
