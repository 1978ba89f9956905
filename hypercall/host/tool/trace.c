// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `--trace`: where the time of steps went, by operation and weight type, the dearest first.
#include "hypercall/host/tool/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int dearest_first(const void *a, const void *b)
{
    uint64_t x = ((const struct tn_trace_row *)a)->ns, y = ((const struct tn_trace_row *)b)->ns;
    return (x < y) - (x > y);
}

// Bytes of weights that were read: all values of the matrices, once an operation.
static double weight_bytes(const struct tn_trace_row *r)
{
    for (uint32_t type = 0; type < TN_TYPE_LIMIT && r->rows; type++) {
        const struct tn_type_info *t = tn_type_info(type);
        if (t->name && strcmp(t->name, r->type) == 0) {
            double values = r->work / (double)r->rows * (double)r->count;
            return values * t->block_bytes / t->block_values;
        }
    }
    return 0;
}

void tool_start_trace(struct tn_trace *t)
{
    memset(t, 0, sizeof *t);
    t->now_ns = tool_now_ns;
}

void tool_print_trace(struct tn_trace *t, FILE *out, bool json)
{
    uint64_t total = 0;
    qsort(t->rows, t->row_count, sizeof *t->rows, dearest_first);
    for (uint32_t i = 0; i < t->row_count; i++) {
        total += t->rows[i].ns;
    }
    if (!json) {
        fprintf(out, "%-28s %9s %10s %7s %9s %9s\n", "operation", "count", "ms", "share", "GFLOP/s",
                "GB/s");
    }
    for (uint32_t i = 0; i < t->row_count; i++) {
        const struct tn_trace_row *r = &t->rows[i];
        double ns = r->ns ? (double)r->ns : 1, bytes = weight_bytes(r);
        if (json) {
            fprintf(out,
                    "%s{\"operation\":\"%s\",\"type\":\"%s\",\"count\":%llu,\"rows\":%llu,"
                    "\"ns\":%llu,\"multiply_adds\":%.0f}",
                    i ? "," : "", r->operation, r->type, (unsigned long long)r->count,
                    (unsigned long long)r->rows, (unsigned long long)r->ns, r->work);
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", r->operation, r->type[0] ? " " : "", r->type);
        fprintf(out, "%-28s %9llu %10.2f %6.1f%%", name, (unsigned long long)r->count, ns * 1e-6,
                total ? 100.0 * (double)r->ns / (double)total : 0);
        if (r->work > 0) {
            fprintf(out, " %9.1f", 2 * r->work / ns);
        }
        if (bytes > 0) {
            fprintf(out, " %9.2f", bytes / ns);
        }
        fputc('\n', out);
    }
    if (!json && t->row_count == 0) {
        fprintf(out, "(the executor reported no operations)\n");
    }
}
