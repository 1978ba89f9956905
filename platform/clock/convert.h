// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Arithmetic of time, free of hardware: TSC cycles to nanoseconds and back, CPUID's frequency
// leaves, the kvmclock page, the RTC's fields.
#ifndef PLATFORM_CLOCK_CONVERT_H
#define PLATFORM_CLOCK_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S 1000000000ull

// ns = base_ns + (tsc - base_tsc) * ns_mult / 2^32.
struct clock_scale {
    uint64_t base_tsc, base_ns;
    uint64_t ns_mult;     // ns per cycle, 32.32
    uint64_t cycles_mult; // cycles per ns, 36.28
};
// hz between 1 MHz and 64 GHz.
void clock_scale_set(struct clock_scale *s, uint64_t hz, uint64_t base_tsc, uint64_t base_ns);
// A TSC before the base counts as the base.
uint64_t clock_scale_ns(const struct clock_scale *s, uint64_t tsc);
uint64_t clock_scale_cycles(const struct clock_scale *s, uint64_t ns);

// value * mul / div without overflow in between; div != 0; saturates at UINT64_MAX.
uint64_t clock_mul_div(uint64_t value, uint64_t mul, uint64_t div);

// CPUID leaf 0x15 (and 0x16 where the crystal is left out): TSC Hz or 0. Source: Intel SDM 2A.
uint64_t clock_cpuid_hz(const uint32_t leaf15[4], const uint32_t leaf16[4]);

// The page a KVM host keeps per vCPU. Source: Linux Documentation/virt/kvm/x86/msr.rst.
struct pvclock_page {
    uint32_t version; // odd while the host writes
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time; // ns
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad[2];
};
_Static_assert(sizeof(struct pvclock_page) == 32, "pvclock page");
#define PVCLOCK_TSC_STABLE 1
// One reading of `page`, consistent. False when the host kept writing through all tries or the
// scale is out of range.
bool pvclock_read(const volatile struct pvclock_page *page, struct pvclock_page *out);
uint64_t pvclock_ns(const struct pvclock_page *p, uint64_t tsc);
uint64_t pvclock_tsc_hz(const struct pvclock_page *p); // 0 if the page says nothing usable

// RTC registers 0, 2, 4, 7, 8, 9 and status B to seconds since 1970. False if no valid date.
struct rtc_fields {
    uint8_t second, minute, hour, day, month, year, status_b;
};
bool rtc_to_unix(const struct rtc_fields *f, uint64_t *seconds);

#endif
