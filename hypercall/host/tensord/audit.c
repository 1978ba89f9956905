// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The audit log: one JSON object a line, with what guests did that somebody may want to know later.
#include "hypercall/host/tensord/worker.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A guest may fill a line a second, and some at once, but not the disk.
static bool has_line_left(struct guest *g, const struct timespec *t)
{
    enum { LINES_AT_ONCE = 30 };
    uint64_t since = (uint64_t)t->tv_sec - g->audit_second;
    g->audit_second = (uint64_t)t->tv_sec;
    g->audit_lines =
        since < LINES_AT_ONCE && g->audit_lines > since ? g->audit_lines - (uint32_t)since : 0;
    if (g->audit_lines >= LINES_AT_ONCE) {
        g->audit_dropped++;
        return false;
    }
    g->audit_lines++;
    return true;
}

void audit(const struct worker *w, struct guest *g, const char *event, const char *format, ...)
{
    char detail[400], stamp[32];
    struct timespec t;
    struct tm broken;
    va_list args;
    if (w->options.audit < 0) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &t);
    if (g && !has_line_left(g, &t)) {
        return;
    }
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    gmtime_r(&t.tv_sec, &broken);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &broken);
    json_t *o =
        json_pack("{s:s, s:s*, s:s, s:s, s:i, s:I}", "time", stamp, "guest", g ? g->name : NULL,
                  "event", event, "detail", detail, "epoch", (int)w->options.epoch, "left_out",
                  (json_int_t)(g ? g->audit_dropped : 0));
    char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (line) {
        char *whole = malloc(strlen(line) + 2);
        if (whole) {
            size_t n = (size_t)sprintf(whole, "%s\n", line);
            // A log that is full must not stop the service.
            ssize_t written = write(w->options.audit, whole, n);
            (void)written;
        }
        free(whole);
    }
    free(line);
    json_decref(o);
}
