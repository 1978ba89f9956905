// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any text as a guest's metrics, as a domain's XML, as a fleet's record: numbers stay finite, and
// what is shown has no control characters.
//
// Links: hypercall/host/view/metrics.c hypercall/host/view/devices.c hypercall/host/view/fleets.c
// Links: hypercall/host/machine/text.c hypercall/host/fleet/secrets.c
// Links: hypercall/host/machine/key.c
// Links: hypercall/host/machine/console.c hypercall/host/machine/size.c
// Libs: -lvirt -ljansson -lm
#include "hypercall/host/view/devices.h"
#include "hypercall/host/view/fleets.h"
#include "hypercall/host/view/metrics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_line(void *context, const char *line)
{
    (void)context;
    for (const char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            abort();
        }
    }
}

static void check_numbers(const struct view_metrics *m)
{
    const double all[] = {m->made_tokens,  m->ended,    m->running,
                          m->waiting,      m->slots,    m->memory_used_bytes,
                          m->memory_bytes, m->kv_usage, m->uptime_seconds};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!isfinite(all[i]) || all[i] < 0) {
            abort();
        }
    }
    double q = view_quantile(NULL, &m->whole, 0.95);
    if (!isfinite(q) || isfinite(view_quantile(&m->whole, &m->first_token, 0.5)) == 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct view_metrics m;
    char url[128], key[64];
    char *text = malloc(bytes + 1);
    if (!text) {
        return 0;
    }
    memcpy(text, data, bytes);
    text[bytes] = 0;
    view_metrics_parse(text, &m);
    check_numbers(&m);
    view_devices(text, check_line, NULL);
    if (view_fleet_record(text, url, sizeof url, key, sizeof key) == 0) {
        check_line(NULL, url);
    }
    free(text);
    return 0;
}
