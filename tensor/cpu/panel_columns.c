// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What panels need of quantised columns: sums in other forms.
#include "tensor/cpu/panel.h"

// The buffers are the executor's own; the structure shows them read-only to kernels.
static void fill_32(const struct tn_panel_columns *p, size_t blocks, size_t at)
{
    int32_t *start = (int32_t *)(uintptr_t)p->start32 + at;
    const int32_t *sums = p->x.sums + at;
    for (size_t i = 0; i < blocks; i++) {
        start[i] = -128 * sums[i];
    }
}

static void fill_256(const struct tn_panel_columns *p, size_t runs, size_t at)
{
    int32_t *start16 = (int32_t *)(uintptr_t)p->start16 + at;
    int32_t *start32 = (int32_t *)(uintptr_t)p->start32 + at / 2;
    int16_t *sums16 = (int16_t *)(uintptr_t)p->sums16 + at;
    int16_t *sums32 = (int16_t *)(uintptr_t)p->sums32 + at / 2;
    int16_t *times_8 = (int16_t *)(uintptr_t)p->sums32_times_8 + at / 2;
    const int32_t *sums = p->x.sums + at;
    for (size_t i = 0; i < runs; i++) {
        start16[i] = -128 * sums[i];
        sums16[i] = (int16_t)sums[i];
    }
    for (size_t i = 0; i < runs / 2; i++) {
        int32_t sum = sums[2 * i] + sums[2 * i + 1];
        start32[i] = -128 * sum;
        sums32[i] = (int16_t)sum;
        times_8[i] = (int16_t)(8 * sum); // at most 8 * 32 * 127 < 2^15
    }
}

void tn_panel_columns_fill(struct tn_panel_columns *p, size_t first, size_t count)
{
    size_t k = p->x.k;
    if (p->x.kind == TN_COLUMNS_32) {
        fill_32(p, count * (k / 32), first * (k / 32));
    } else {
        fill_256(p, count * (k / 16), first * (k / 16));
    }
}
