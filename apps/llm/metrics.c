// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Prometheus text format (version 0.0.4) of counters, gauges and histograms.
#include "apps/llm/metrics.h"

static const struct {
    uint64_t ns;
    const char *seconds;
} bound[HISTOGRAM_BUCKETS] = {
    {1000000, "0.001"},   {2500000, "0.0025"},  {5000000, "0.005"},   {10000000, "0.01"},
    {25000000, "0.025"},  {50000000, "0.05"},   {100000000, "0.1"},   {250000000, "0.25"},
    {500000000, "0.5"},   {1000000000, "1"},    {2500000000, "2.5"},  {5000000000, "5"},
    {10000000000u, "10"}, {30000000000u, "30"}, {60000000000u, "60"},
};

void histogram_add(struct histogram *h, uint64_t ns)
{
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS && ns > bound[i].ns)
        i++;
    count(&h->bucket[i], 1);
    count(&h->sum_ns, ns);
}

void histogram_print(const struct histogram *h, const char *name, const char *help,
                     struct text *out)
{
    uint64_t total = 0;
    text_format(out, "# HELP tessera_%s %s\n# TYPE tessera_%s histogram\n", name, help, name);
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        total += counted(&h->bucket[i]);
        text_format(out, "tessera_%s_bucket{le=\"%s\"} %llu\n", name,
                    i < HISTOGRAM_BUCKETS ? bound[i].seconds : "+Inf", (unsigned long long)total);
    }
    text_format(out, "tessera_%s_sum %.9g\ntessera_%s_count %llu\n", name,
                (double)counted(&h->sum_ns) / 1e9, name, (unsigned long long)total);
}

void metric_print(struct text *out, const char *type, const char *name, const char *help,
                  double value)
{
    text_format(out, "# HELP tessera_%s %s\n# TYPE tessera_%s %s\ntessera_%s %.15g\n", name, help,
                name, type, name, value);
}
