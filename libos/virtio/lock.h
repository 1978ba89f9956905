// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A spin lock between strands of different cores. Never taken in interrupt context, and no strand
// yields while it holds one, so the holder is always running (strands are cooperative).
#ifndef LIBOS_VIRTIO_LOCK_H
#define LIBOS_VIRTIO_LOCK_H

#include <stdint.h>

struct spin {
    uint32_t held;
};

static inline void spin_lock(struct spin *s)
{
    while (__atomic_exchange_n(&s->held, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&s->held, __ATOMIC_RELAXED)) {
            __asm__ volatile("pause");
        }
    }
}
static inline void spin_unlock(struct spin *s)
{
    __atomic_store_n(&s->held, 0, __ATOMIC_RELEASE);
}

#endif
