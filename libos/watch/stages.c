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
static unsigned count; // written while booting, by one strand at a time

void stage_mark(const char *name)
{
    if (count < STAGES) {
        stages[count].name = name;
        stages[count++].ns = pf_now_ns();
    }
}

static uint64_t line(char *out, size_t size, size_t *at, const char *name, uint64_t ns,
                     uint64_t before)
{
    if (*at < size) {
        int n = snprintf(out + *at, size - *at, "  %-20s %8.2f ms  +%.2f\n", name, (double)ns / 1e6,
                         (double)(ns - before) / 1e6);
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
    for (unsigned i = 0; i < count; i++) {
        before = line(text, sizeof text, &at, stages[i].name, stages[i].ns, before);
    }
    pf_serial_write(text, at < sizeof text ? at : sizeof text - 1);
}
