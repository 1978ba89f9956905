// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Boot stages: what took how long from the first instruction on.
#include "libos/log.h"
#include "platform/boot.h"
#include "platform/serial.h"
#include "platform/time.h"

#include <stdio.h>
#include <string.h>

#define STAGES 32

static struct {
    const char *name;
    uint64_t ns; // since entry
} stages[STAGES];
static unsigned count; // atomic: strands on several CPUs mark their stages

void stage_mark(const char *name)
{
    unsigned at = __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    if (at < STAGES) {
        stages[at].ns = pf_now_ns();
        __atomic_store_n(&stages[at].name, name, __ATOMIC_RELEASE);
    }
}

static uint64_t line(char *out, size_t size, size_t *at, const char *name, uint64_t ns,
                     uint64_t before)
{
    if (*at < size) {
        int n = snprintf(out + *at, size - *at, "  %-20s %8.2f ms  +%.2f\n", name, (double)ns / 1e6,
                         (double)(int64_t)(ns - before) / 1e6);
        *at += n > 0 ? (size_t)n : 0;
    }
    return ns;
}

void stage_print(void)
{
    char text[3072];
    size_t at = 0, machine_count;
    uint64_t before = 0;
    const struct pf_boot_stage *machine = pf_boot_stages(&machine_count);
    uint64_t entry = pf_boot_info()->entry_tsc;
    at = (size_t)snprintf(text, sizeof text, "boot, time since the first instruction:\n");
    for (size_t i = 0; i < machine_count; i++) {
        uint64_t ticks = machine[i].tsc - entry;
        uint64_t ns = (uint64_t)((__uint128_t)ticks * 1000000000u / pf_tsc_hz());
        before = line(text, sizeof text, &at, machine[i].name, ns, before);
    }
    // In the order of marking; what runs beside each other is told apart by its name only.
    unsigned marked = __atomic_load_n(&count, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < marked && i < STAGES; i++) {
        if (!__atomic_load_n(&stages[i].name, __ATOMIC_ACQUIRE)) {
            continue; // being marked right now
        }
        before = line(text, sizeof text, &at, stages[i].name, stages[i].ns, before);
    }
    pf_serial_write(text, at < sizeof text ? at : sizeof text - 1);
}
