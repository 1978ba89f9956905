// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Spin locks of the libos, for a handful of instructions. Strands are cooperative, so a holder is
// never switched out; it must not block, yield or call sched_relax. A lock that interrupt handlers
// take is taken with spin_lock_irq everywhere.
#ifndef LIBOS_SPIN_H
#define LIBOS_SPIN_H

#include "platform/cpu.h"

#include <stdbool.h>
#include <stdint.h>

static inline void spin_lock(uint32_t *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
            pf_pause();
        }
    }
}
static inline bool spin_try(uint32_t *lock)
{
    return !__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE);
}
static inline void spin_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}
static inline uint64_t spin_lock_irq(uint32_t *lock)
{
    uint64_t flags = pf_irq_save();
    spin_lock(lock);
    return flags;
}
static inline void spin_unlock_irq(uint32_t *lock, uint64_t flags)
{
    spin_unlock(lock);
    pf_irq_restore(flags);
}

#endif
