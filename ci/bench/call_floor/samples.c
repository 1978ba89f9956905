// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Median and 99th percentile of round trips.
#include "ci/bench/call_floor/samples.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t samples_percentile(uint64_t *v, size_t count, unsigned percent)
{
    if (count == 0) {
        return 0;
    }
    qsort(v, count, sizeof *v, by_size);
    size_t rank = (count * percent + 99) / 100;
    return v[rank ? rank - 1 : 0];
}
