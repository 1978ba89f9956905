// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as HAProxy's statistics: refused with a message, or rows whose texts end.
//
// Links: hypercall/host/fleet/proxy_stats.c
#include "hypercall/host/fleet/proxy_runtime.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct proxy_row *rows, sum;
    size_t count;
    char error[200] = "";
    char *exact = malloc(bytes ? bytes : 1);
    if (!exact) {
        return 0;
    }
    memcpy(exact, data, bytes);
    if (proxy_stats_parse(exact, bytes, &rows, &count, error, sizeof error) != 0) {
        if (!error[0] || rows) {
            abort();
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            if (strlen(rows[i].backend) >= sizeof rows[i].backend ||
                strlen(rows[i].server) >= sizeof rows[i].server || rows[i].port > 65535) {
                abort();
            }
            if (i < 8) {
                proxy_member_row(rows, count, rows[i].server, &sum);
            }
        }
        free(rows);
    }
    free(exact);
    return 0;
}
