// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Clocks and sleeping.
#include "libos/posix/internal.h"

#include "libos/sched.h"
#include "platform/time.h"

#include <errno.h>
#include <sys/time.h>
#include <time.h>

#define SECOND 1000000000ull

static struct timespec split(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
}

long call_clock_gettime(int clock, struct timespec *out)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        *out = split(pf_wall_ns());
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        *out = split(pf_now_ns());
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *out = split(sched_strand_ns());
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *out = split(sched_busy_ns());
        return 0;
    default:
        return -EINVAL;
    }
}

long call_clock_getres(int clock, struct timespec *out)
{
    struct timespec now;
    long e = call_clock_gettime(clock, &now);
    if (e == 0 && out) {
        *out = (struct timespec){.tv_nsec = 1};
    }
    return e;
}

int posix_deadline(const struct timespec *t, int absolute, int realtime, uint64_t *deadline)
{
    if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= (long)SECOND) {
        return -EINVAL;
    }
    uint64_t now = pf_now_ns(), ns;
    if ((uint64_t)t->tv_sec > UINT64_MAX / SECOND / 4) {
        ns = UINT64_MAX / 4;
    } else {
        ns = (uint64_t)t->tv_sec * SECOND + (uint64_t)t->tv_nsec;
    }
    if (absolute && realtime) {
        uint64_t wall = pf_wall_ns();
        ns = ns > wall ? now + (ns - wall) : 1;
    } else if (!absolute) {
        ns += now;
    }
    *deadline = ns ? ns : 1;
    return 0;
}

long call_nanosleep(int clock, int flags, const struct timespec *request)
{
    uint64_t deadline;
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME) {
        return -EINVAL;
    }
    int e = posix_deadline(request, flags & TIMER_ABSTIME, clock == CLOCK_REALTIME, &deadline);
    if (e != 0) {
        return e;
    }
    uint64_t now = pf_now_ns();
    if (deadline > now) {
        strand_sleep_ns(deadline - now);
    }
    return 0;
}

long call_gettimeofday(struct timeval *out)
{
    uint64_t wall = pf_wall_ns();
    out->tv_sec = (time_t)(wall / SECOND);
    out->tv_usec = (suseconds_t)(wall % SECOND / 1000);
    return 0;
}
