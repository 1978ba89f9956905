// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Scaling between cycles and nanoseconds, and CPUID's frequency leaves (Intel SDM 2A, CPUID).
#include "platform/clock/convert.h"

__extension__ typedef unsigned __int128 u128;

void clock_scale_set(struct clock_scale *s, uint64_t hz, uint64_t base_tsc, uint64_t base_ns)
{
    s->base_tsc = base_tsc;
    s->base_ns = base_ns;
    s->ns_mult = (NS_PER_S << 32) / hz;
    s->cycles_mult = (hz << 28) / NS_PER_S;
}

uint64_t clock_scale_ns(const struct clock_scale *s, uint64_t tsc)
{
    if ((int64_t)(tsc - s->base_tsc) < 0) {
        return s->base_ns;
    }
    return s->base_ns + (uint64_t)((u128)(tsc - s->base_tsc) * s->ns_mult >> 32);
}

uint64_t clock_scale_cycles(const struct clock_scale *s, uint64_t ns)
{
    u128 cycles = (u128)ns * s->cycles_mult >> 28;
    return cycles > UINT64_MAX ? UINT64_MAX : (uint64_t)cycles;
}

uint64_t clock_mul_div(uint64_t value, uint64_t mul, uint64_t div)
{
    // Long division by hand: a 128-bit quotient would call into libgcc, which is not linked here.
    u128 n = (u128)value * mul;
    uint64_t high = (uint64_t)(n >> 64);
    uint64_t low = (uint64_t)n;
    if (high >= div) {
        return UINT64_MAX;
    }
    for (int i = 0; i < 64; i++) {
        bool carry = high >> 63;
        high = high << 1 | low >> 63;
        low <<= 1;
        if (carry || high >= div) {
            high -= div;
            low |= 1;
        }
    }
    return low;
}

uint64_t clock_cpuid_hz(const uint32_t leaf15[4], const uint32_t leaf16[4])
{
    uint64_t denominator = leaf15[0], numerator = leaf15[1], crystal = leaf15[2];
    if (denominator == 0 || numerator == 0) {
        return 0;
    }
    if (crystal == 0) {
        // The crystal is not enumerated: the TSC then runs at the base frequency.
        return (uint64_t)(leaf16[0] & 0xffff) * 1000000u;
    }
    return crystal * numerator / denominator;
}
