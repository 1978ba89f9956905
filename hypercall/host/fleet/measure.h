// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a guest's /metrics say of its load (Prometheus text format 0.0.4). Guests write these texts:
// whatever they hold, reading them ends and stays in bounds.
#ifndef TESSERA_FLEET_MEASURE_H
#define TESSERA_FLEET_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

enum { MEASURE_BUCKETS = 24 };

struct measure {
    uint32_t buckets;                      // of e2e_request_latency_seconds, the last is +Inf
    double bound_s[MEASURE_BUCKETS];       // ascending; +Inf as HUGE_VAL
    double cumulative[MEASURE_BUCKETS];    // requests up to that bound since the guest's start
    double processing, waiting, predicted; // requests in a slot, before one; tokens made
};

// -EINVAL: no such histogram, or its bounds do not ascend.
int measure_parse(const char *text, struct measure *out);

// Requests of several guests in a window of time, by latency.
struct measure_window {
    uint32_t buckets;
    double bound_s[MEASURE_BUCKETS], count[MEASURE_BUCKETS]; // each bucket's own
};
// What came between two looks at one guest; with `before` NULL, or from a guest that was started
// anew since, all of `now`. Guests with other bounds are left out.
void measure_add(struct measure_window *w, const struct measure *before, const struct measure *now);
double measure_requests(const struct measure_window *w);
// The latency in ms that the share q of the requests do not exceed, between bounds by
// interpolation; -1: no requests. Beyond the last bound: that bound.
double measure_quantile_ms(const struct measure_window *w, double q);

#endif
