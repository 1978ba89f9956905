// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Counters and latency histograms. Written by one strand, read by another: relaxed atomics, for
// each number stands alone.
#ifndef APPS_LLM_METRICS_H
#define APPS_LLM_METRICS_H

#include "apps/llm/text.h"

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 15
struct histogram {
    _Atomic uint64_t bucket[HISTOGRAM_BUCKETS + 1]; // the last: longer than all bounds
    _Atomic uint64_t sum_ns;
};
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_print(const struct histogram *h, const char *name, const char *help,
                     struct text *out);

static inline void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}
static inline uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}
// # HELP, # TYPE and one line. type: "counter" or "gauge".
void metric_print(struct text *out, const char *type, const char *name, const char *help,
                  double value);

#endif
