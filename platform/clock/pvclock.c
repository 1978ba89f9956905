// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kvmclock page's arithmetic. Source: Linux Documentation/virt/kvm/x86/msr.rst,
// MSR_KVM_SYSTEM_TIME_NEW.
#include "platform/clock/convert.h"

bool pvclock_read(const volatile struct pvclock_page *page, struct pvclock_page *out)
{
    for (int i = 0; i < 1000; i++) {
        // Acquire on both sides: the fields must be read between the two looks at the version.
        uint32_t before = __atomic_load_n(&page->version, __ATOMIC_ACQUIRE);
        out->tsc_timestamp = page->tsc_timestamp;
        out->system_time = page->system_time;
        out->tsc_to_system_mul = page->tsc_to_system_mul;
        out->tsc_shift = page->tsc_shift;
        out->flags = page->flags;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        uint32_t after = __atomic_load_n(&page->version, __ATOMIC_RELAXED);
        if (before == after && !(before & 1)) {
            out->version = before;
            return before != 0 && out->tsc_to_system_mul != 0 && out->tsc_shift > -32 &&
                   out->tsc_shift < 32;
        }
    }
    return false;
}

uint64_t pvclock_ns(const struct pvclock_page *p, uint64_t tsc)
{
    __extension__ typedef unsigned __int128 u128;
    if ((int64_t)(tsc - p->tsc_timestamp) < 0) {
        return p->system_time;
    }
    uint64_t delta = tsc - p->tsc_timestamp;
    delta = p->tsc_shift >= 0 ? delta << p->tsc_shift : delta >> -p->tsc_shift;
    return p->system_time + (uint64_t)((u128)delta * p->tsc_to_system_mul >> 32);
}

uint64_t pvclock_tsc_hz(const struct pvclock_page *p)
{
    if (p->tsc_to_system_mul == 0 || p->tsc_shift <= -32 || p->tsc_shift >= 32) {
        return 0;
    }
    // hz = 1e9 * 2^32 / mul / 2^shift
    uint64_t hz = (NS_PER_S << 32) / p->tsc_to_system_mul;
    return p->tsc_shift >= 0 ? hz >> p->tsc_shift : hz << -p->tsc_shift;
}
