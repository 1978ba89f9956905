// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any text as a guest's /metrics: what comes of it is finite and in order.
//
// Links: hypercall/host/fleet/measure.c
#include "hypercall/host/fleet/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct measure m;
    char *text = malloc(size + 1);
    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = 0;
    if (measure_parse(text, &m) == 0) {
        struct measure_window w = {0};
        measure_add(&w, NULL, &m);
        measure_add(&w, &m, &m);
        double p95 = measure_quantile_ms(&w, 0.95);
        if (isnan(p95) || measure_requests(&w) < 0 || m.processing < 0 || m.buckets < 1) {
            abort();
        }
    }
    free(text);
    return 0;
}
