// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Private to platform/: the kernel's page tables and what boot, SMP and crash need of them.
#ifndef PLATFORM_PAGING_PRIVATE_H
#define PLATFORM_PAGING_PRIVATE_H

#include "platform/paging/table.h"

#define PF_STACK_BASE 0x0000700000000000ull // interrupt and CPU stacks, guard pages between
#define PF_STACK_END  0x0000780000000000ull

extern struct pf_table pf_kernel_table; // changed only by boot, then under paging.c's lock

// Once, first thing at the final address: from here on frames are reached by the direct map.
void pf_paging_init(void);
// Once the interrupt controller works: lets other CPUs be told to flush.
void pf_tlb_init(void);
// This CPU runs on the final tables and counts: flushes all, takes part in every flush to come.
void pf_tlb_join(uint32_t index);
// Flushes [virt, virt + bytes) on every CPU. Under the paging lock.
void pf_tlb_flush(uint64_t virt, uint64_t bytes);
// Does what another CPU asked of this one. Called by the interrupt and wherever a CPU spins with
// interrupts off for something that a flushing CPU may hold.
void pf_tlb_poll(void);
// Around a halt, interrupts off: between the two this CPU takes no part in flushes. pf_tlb_wake
// comes before anything that uses a mapping which may change; it costs one load when awake.
void pf_tlb_sleep(void);
void pf_tlb_wake(void);
// A stack of whole pages with an unmapped page below it; the address of its top, 0: no memory.
uint64_t pf_stack_map(uint64_t bytes);
// Whether a read of these eight bytes would not fault. Takes no lock: for the crash report.
int pf_readable8(uint64_t virt);

#endif
