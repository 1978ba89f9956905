// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How long starts took, and which kind is the faster.
#include "hypercall/host/base/files.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/record_private.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 4096, TRIES = 3 };
static const char *const keys[RECORD_STARTS] = {"cold_ms", "ready_ms"};

void record_times_add(struct record_times *t, enum record_start start, double ms)
{
    double *list = t->ms[start];
    if (t->count[start] == RECORD_TIMES_KEPT) {
        memmove(list, list + 1, (RECORD_TIMES_KEPT - 1) * sizeof *list);
        t->count[start]--;
    }
    list[t->count[start]++] = ms;
}

void record_times_read(const char *path, struct record_times *out)
{
    char *text;
    size_t bytes;
    memset(out, 0, sizeof *out);
    if (file_load(path, MOST_BYTES, &text, &bytes) != 0) {
        return;
    }
    json_t *o = json_loadb(text, bytes, 0, NULL);
    for (int s = 0; s < RECORD_STARTS; s++) {
        const json_t *list = json_object_get(o, keys[s]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            double ms = json_number_value(json_array_get(list, i));
            if (isfinite(ms) && ms > 0) {
                record_times_add(out, (enum record_start)s, ms);
            }
        }
    }
    json_decref(o);
    free(text);
}

int record_times_write(const char *path, const struct record_times *t, char *error,
                       size_t error_bytes)
{
    json_t *o = json_object();
    for (int s = 0; o && s < RECORD_STARTS; s++) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < t->count[s]; i++) {
            json_array_append_new(list, json_real(t->ms[s][i]));
        }
        json_object_set_new(o, keys[s], list);
    }
    return record_store(path, o, error, error_bytes);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double record_times_median(const struct record_times *t, enum record_start start)
{
    double sorted[RECORD_TIMES_KEPT];
    uint32_t n = t->count[start];
    if (n == 0) {
        return 0;
    }
    memcpy(sorted, t->ms[start], n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

enum record_start record_times_choose(const struct record_times *t)
{
    uint32_t cold = t->count[RECORD_COLD], ready = t->count[RECORD_FROM_READY];
    if (cold < TRIES || ready < TRIES) {
        return cold < ready ? RECORD_COLD : RECORD_FROM_READY;
    }
    return record_times_median(t, RECORD_COLD) < record_times_median(t, RECORD_FROM_READY)
               ? RECORD_COLD
               : RECORD_FROM_READY;
}
