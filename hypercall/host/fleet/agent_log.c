// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent's messages and clocks.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/fleet/agent_parts.h"

#include <stdarg.h>
#include <time.h>

void agent_log(const char *format, ...)
{
    char when[32], line[1200];
    time_t now = time(NULL);
    struct tm t;
    va_list args;
    localtime_r(&now, &t);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &t);
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    // Both processes write there: a line at once.
    fprintf(stderr, "%s tessera agent: %s\n", when, line);
}

uint64_t agent_now_ms(void)
{
    return (uint64_t)monotonic_ms() + 1; // 0 is for "never"
}

int64_t agent_time_ms(void)
{
    return wall_ms();
}

void agent_sleep_ms(long ms)
{
    sleep_ms(ms);
}
