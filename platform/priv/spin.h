// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A spin lock for a handful of instructions, held with interrupts off. Not fair, not recursive.
#ifndef PLATFORM_PRIV_SPIN_H
#define PLATFORM_PRIV_SPIN_H

#include "platform/cpu.h"

#include <stdbool.h>
#include <stdint.h>

struct pf_spin {
    uint32_t held; // acquire on take, release on give
};

static inline uint64_t pf_spin_lock(struct pf_spin *s)
{
    uint64_t flags = pf_irq_save();
    while (__atomic_exchange_n(&s->held, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&s->held, __ATOMIC_RELAXED)) {
            pf_pause();
        }
    }
    return flags;
}
static inline void pf_spin_unlock(struct pf_spin *s, uint64_t flags)
{
    __atomic_store_n(&s->held, 0, __ATOMIC_RELEASE);
    pf_irq_restore(flags);
}
// As pf_spin_lock, but gives up waiting after `cycles` of the TSC and goes on without the lock:
// for the crash report, whose CPU may itself hold it. *taken says which it was.
static inline uint64_t pf_spin_lock_bounded(struct pf_spin *s, uint64_t cycles, bool *taken)
{
    uint64_t flags = pf_irq_save();
    uint64_t start = pf_rdtsc();
    *taken = true;
    while (__atomic_exchange_n(&s->held, 1, __ATOMIC_ACQUIRE)) {
        if (pf_rdtsc() - start > cycles) {
            *taken = false;
            break;
        }
        pf_pause();
    }
    return flags;
}

#endif
