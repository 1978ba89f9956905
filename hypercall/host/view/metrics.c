// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's metrics, read line by line: `name{label="value",…} number`.
#include "hypercall/host/view/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name; // without "tessera_"
    size_t offset;
} plain[] = {
    {"prompt_tokens_total", offsetof(struct view_metrics, prompt_tokens)},
    {"tokens_predicted_total", offsetof(struct view_metrics, made_tokens)},
    {"tokens_predicted_seconds_total", offsetof(struct view_metrics, made_seconds)},
    {"requests_processing", offsetof(struct view_metrics, running)},
    {"requests_deferred", offsetof(struct view_metrics, waiting)},
    {"slots", offsetof(struct view_metrics, slots)},
    {"kv_cache_usage", offsetof(struct view_metrics, kv_usage)},
    {"memory_bytes", offsetof(struct view_metrics, memory_bytes)},
    {"memory_used_bytes", offsetof(struct view_metrics, memory_used_bytes)},
    {"memory_mapped_model_bytes", offsetof(struct view_metrics, mapped_bytes)},
    {"uptime_seconds", offsetof(struct view_metrics, uptime_seconds)},
    {"offload_state", offsetof(struct view_metrics, offloaded)},
};

// Whole numbers up to here are exact, and fit every integer that they may become.
static const double MOST = 1e15;

static bool is(const char *name, size_t bytes, const char *wanted)
{
    return strlen(wanted) == bytes && memcmp(name, wanted, bytes) == 0;
}

static double number(const char *text)
{
    double v = strtod(text, NULL);
    return isfinite(v) && v > 0 ? fmin(v, MOST) : 0;
}

static void add_bucket(struct view_histogram *h, const char *labels, double value)
{
    const char *le = strstr(labels, "le=\"");
    double bound = le ? strtod(le + 4, NULL) : 0; // "+Inf" is read, too
    if (!le || h->buckets == VIEW_BUCKETS || !(bound > 0) ||
        (h->buckets && !(bound > h->bound[h->buckets - 1]))) {
        return;
    }
    h->bound[h->buckets] = bound;
    h->count[h->buckets++] = value;
}

// labels: what stands between the braces, "" without.
static void take(struct view_metrics *m, const char *name, size_t bytes, const char *labels,
                 double value)
{
    m->known = true;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (is(name, bytes, plain[i].name)) {
            memcpy((char *)m + plain[i].offset, &value, sizeof value);
            return;
        }
    }
    if (is(name, bytes, "requests_total")) {
        m->ended += value;
        m->failed += strstr(labels, "=\"failed\"") ? value : 0;
    } else if (is(name, bytes, "e2e_request_latency_seconds_bucket")) {
        add_bucket(&m->whole, labels, value);
    } else if (is(name, bytes, "time_to_first_token_seconds_bucket")) {
        add_bucket(&m->first_token, labels, value);
    }
}

void view_metrics_parse(const char *text, struct view_metrics *out)
{
    static const char prefix[] = "tessera_";
    memset(out, 0, sizeof *out);
    for (size_t line; *text; text += line + (text[line] == '\n')) {
        line = strcspn(text, "\n");
        char labels[128] = "";
        if (line < sizeof prefix || strncmp(text, prefix, sizeof prefix - 1) != 0) {
            continue;
        }
        const char *name = text + sizeof prefix - 1, *end = text + line;
        size_t bytes = strcspn(name, "{ \n");
        const char *value = name + bytes;
        if (value < end && *value == '{') {
            const char *close = memchr(value, '}', (size_t)(end - value));
            if (!close) {
                continue;
            }
            size_t n = (size_t)(close - value - 1);
            n = n < sizeof labels ? n : sizeof labels - 1;
            memcpy(labels, value + 1, n);
            labels[n] = 0;
            value = close + 1;
        }
        if (value < end && *value == ' ' && value + 1 < end) {
            take(out, name, bytes, labels, number(value + 1));
        }
    }
    out->kv_usage = out->kv_usage < 1 ? out->kv_usage : 1;
}

// What came into bucket i alone.
static double own(const struct view_histogram *before, const struct view_histogram *now, size_t i)
{
    double n = now->count[i] - (i ? now->count[i - 1] : 0);
    if (before && i < before->buckets) {
        n -= before->count[i] - (i ? before->count[i - 1] : 0);
    }
    return n > 0 ? n : 0;
}

double view_quantile(const struct view_histogram *before, const struct view_histogram *now,
                     double q)
{
    double total = 0, seen = 0;
    // A guest that began anew counts from nothing.
    if (before && before->buckets &&
        (before->buckets != now->buckets ||
         before->count[before->buckets - 1] > now->count[now->buckets - 1])) {
        before = NULL;
    }
    for (size_t i = 0; i < now->buckets; i++) {
        total += own(before, now, i);
    }
    for (size_t i = 0; i < now->buckets; i++) {
        double n = own(before, now, i), low = i ? now->bound[i - 1] : 0;
        if (n > 0 && seen + n >= q * total) {
            return isinf(now->bound[i]) ? low
                                        : low + (now->bound[i] - low) * ((q * total - seen) / n);
        }
        seen += n;
    }
    return -1;
}
