// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's GET /metrics (Prometheus text format 0.0.4), read. Guests may write what they like:
// numbers that are none, negative ones and infinities count as 0.
#ifndef TESSERA_VIEW_METRICS_H
#define TESSERA_VIEW_METRICS_H

#include <stdbool.h>
#include <stddef.h>

enum { VIEW_BUCKETS = 24 };

// Buckets as they are written: each counts all that took at most `bound` seconds. Ascending.
struct view_histogram {
    size_t buckets;
    double bound[VIEW_BUCKETS], count[VIEW_BUCKETS];
};

struct view_metrics {
    bool known; // something was answered; otherwise all is 0
    double prompt_tokens, made_tokens, made_seconds;
    double ended, failed; // requests, by any reason; those that the machine failed
    double running, waiting, slots;
    double kv_usage; // 0 to 1
    double memory_bytes, memory_used_bytes, mapped_bytes;
    double uptime_seconds, offloaded;
    struct view_histogram whole, first_token; // seconds of a request
};

void view_metrics_parse(const char *text, struct view_metrics *out);
// The bound of the bucket below which a part q (0 to 1) of what came between two moments lies,
// interpolated within the bucket; before: NULL: since ever. Negative: nothing came. What took
// longer than all bounds counts as the last one.
double view_quantile(const struct view_histogram *before, const struct view_histogram *now,
                     double q);

#endif
