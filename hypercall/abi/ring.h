// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Access to the words that both sides share. A writer publishes with release after its entries; a
// reader acquires before it copies them. Sleeping: the sleeper sets its needs_kick, then looks once
// more; the writer publishes, then looks at needs_kick. Between the two steps both have a full
// fence, so at least one of them sees the other.
#ifndef HYPERCALL_ABI_RING_H
#define HYPERCALL_ABI_RING_H

#include "hypercall/abi/call.h"

#include <stdbool.h>
#include <string.h>

static inline uint32_t hc_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void hc_store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
// After publishing entries: must the other side be woken?
static inline bool hc_must_kick(const uint32_t *needs_kick)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(needs_kick, __ATOMIC_RELAXED) != 0;
}
// Before sleeping; the caller then looks at the ring once more.
static inline void hc_announce_sleep(uint32_t *needs_kick)
{
    __atomic_store_n(needs_kick, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void hc_announce_awake(uint32_t *needs_kick)
{
    __atomic_store_n(needs_kick, 0, __ATOMIC_RELAXED);
}
// Copies what the other side may be changing meanwhile; from here on only the copy counts. The
// barrier keeps the compiler from reading the source again instead of the copy.
static inline void hc_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    __asm__ volatile("" : : "r"(to) : "memory");
}

static inline void hc_pause(void)
{
    __builtin_ia32_pause();
}

#endif
