// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Histograms of guests, subtracted and added.
#include "hypercall/host/fleet/measure.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>

static const char bucket[] = "tessera_e2e_request_latency_seconds_bucket{le=\"";

static bool read_number(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || !(value >= 0) || isinf(value)) { // also refuses NaN
        return false;
    }
    *out = value;
    return true;
}

static int read_bucket(const char *at, struct measure *m)
{
    char *end;
    double bound = strncmp(at, "+Inf", 4) == 0 ? HUGE_VAL : strtod(at, &end), count;
    const char *close = strstr(at, "\"} "), *line = strchr(at, '\n');
    if (!close || (line && line < close) || m->buckets == MEASURE_BUCKETS ||
        !read_number(close + 3, &count)) {
        return -EINVAL;
    }
    uint32_t n = m->buckets;
    if (n && (!(bound > m->bound_s[n - 1]) || count < m->cumulative[n - 1])) {
        return -EINVAL;
    }
    if (isnan(bound) || bound < 0) {
        return -EINVAL;
    }
    m->bound_s[n] = bound;
    m->cumulative[n] = count;
    m->buckets++;
    return 0;
}

int measure_parse(const char *text, struct measure *out)
{
    static const struct {
        const char *name;
        size_t offset;
    } gauges[] = {
        {"tessera_requests_processing ", offsetof(struct measure, processing)},
        {"tessera_requests_deferred ", offsetof(struct measure, waiting)},
        {"tessera_tokens_predicted_total ", offsetof(struct measure, predicted)},
    };
    memset(out, 0, sizeof *out);
    for (const char *line = text; line && *line;) {
        if (strncmp(line, bucket, sizeof bucket - 1) == 0) {
            if (read_bucket(line + sizeof bucket - 1, out) != 0) {
                return -EINVAL;
            }
        }
        for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++) {
            size_t n = strlen(gauges[i].name);
            if (strncmp(line, gauges[i].name, n) == 0 &&
                !read_number(line + n, (double *)((char *)out + gauges[i].offset))) {
                return -EINVAL;
            }
        }
        const char *end = strchr(line, '\n');
        line = end ? end + 1 : NULL;
    }
    return out->buckets && isinf(out->bound_s[out->buckets - 1]) ? 0 : -EINVAL;
}

static bool has_bounds(const struct measure *m, uint32_t buckets, const double *bound_s)
{
    return m->buckets == buckets && memcmp(m->bound_s, bound_s, buckets * sizeof *bound_s) == 0;
}

void measure_add(struct measure_window *w, const struct measure *before, const struct measure *now)
{
    if (!w->buckets) {
        w->buckets = now->buckets;
        memcpy(w->bound_s, now->bound_s, sizeof w->bound_s);
    }
    if (!now->buckets || !has_bounds(now, w->buckets, w->bound_s)) {
        return;
    }
    uint32_t last = now->buckets - 1;
    bool anew = !before || !has_bounds(before, now->buckets, now->bound_s);
    for (uint32_t i = 0; !anew && i <= last; i++) {
        anew = before->cumulative[i] > now->cumulative[i];
    }
    for (uint32_t i = 0; i <= last; i++) {
        double total = now->cumulative[i] - (anew ? 0 : before->cumulative[i]);
        double less = i ? now->cumulative[i - 1] - (anew ? 0 : before->cumulative[i - 1]) : 0;
        w->count[i] += total > less ? total - less : 0;
    }
}

double measure_requests(const struct measure_window *w)
{
    double total = 0;
    for (uint32_t i = 0; i < w->buckets; i++) {
        total += w->count[i];
    }
    return total;
}

double measure_quantile_ms(const struct measure_window *w, double q)
{
    double total = measure_requests(w), rank = total * q, seen = 0;
    if (total <= 0) {
        return -1;
    }
    for (uint32_t i = 0; i < w->buckets; i++) {
        double low = i ? w->bound_s[i - 1] : 0;
        if (seen + w->count[i] >= rank && w->count[i] > 0) {
            double part = (rank - seen) / w->count[i];
            return isinf(w->bound_s[i]) ? low * 1000 : (low + (w->bound_s[i] - low) * part) * 1000;
        }
        seen += w->count[i];
    }
    return w->buckets > 1 ? w->bound_s[w->buckets - 2] * 1000 : -1;
}
