// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Time: TSC scaled to nanoseconds (kvmclock where offered; frequency from CPUID or measured against
// a reference counter), and the wall clock (CMOS RTC, read once at boot). Everything here may be
// called on any CPU and from interrupts.
#ifndef PLATFORM_TIME_H
#define PLATFORM_TIME_H

#include <stdint.h>

// Nanoseconds since the kernel's first instruction; monotonic on a CPU, and across CPUs as far as
// their TSCs agree.
uint64_t pf_now_ns(void);
// Nanoseconds since 1970-01-01 UTC; since the start where the machine has no real-time clock. Jumps
// when the machine goes on from a saved state (generation.h); pf_now_ns does not.
uint64_t pf_wall_ns(void);
// Cycles a second, never 0; a measured one may be corrected by a few per mille once, early.
uint64_t pf_tsc_hz(void);
// Where the frequency comes from: "kvmclock", "tsc (…)" with kvmclock, hypervisor, cpuid,
// apic timer, hpet, pm timer, pit or guess.
const char *pf_clock_name(void);

#endif
