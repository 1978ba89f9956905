// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Time: TSC scaled to nanoseconds (kvmclock where offered; frequency from CPUID, HPET or the PM
// timer), and the wall clock (CMOS RTC or UEFI, read once at boot).
#ifndef PLATFORM_TIME_H
#define PLATFORM_TIME_H

#include <stdint.h>

// Nanoseconds since the kernel's first instruction; monotonic on and across CPUs. irq-safe.
uint64_t pf_now_ns(void);
// Nanoseconds since 1970-01-01 UTC.
uint64_t pf_wall_ns(void);
uint64_t pf_tsc_hz(void);
const char *pf_clock_name(void); // "kvmclock", "tsc (cpuid)", "tsc (hpet)", "tsc (pm timer)"

#endif
