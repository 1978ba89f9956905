// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent's messages and clocks.
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
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u + 1;
}

int64_t agent_time_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void agent_sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}
