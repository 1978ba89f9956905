// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Other CPUs: counted from the MADT, started by INIT-SIPI-SIPI.
#ifndef PLATFORM_SMP_H
#define PLATFORM_SMP_H

#include "platform/cpu.h"

// How many CPUs run now, and how many the MADT lists (at most PF_MAX_CPUS). Any CPU, irq-safe, as
// the next two.
uint32_t pf_cpu_online(void);
uint32_t pf_cpu_present(void);
// Whether this one runs. Where a CPU has been left out, those after it keep their numbers.
bool pf_cpu_is_online(uint32_t index);
// NULL beyond PF_MAX_CPUS.
struct pf_cpu *pf_cpu(uint32_t index);

// Starts all present CPUs; each calls entry(index) on its own 16 KB guarded stack, interrupts off,
// and must never return. pf_smp_begin does not wait for them: it returns how many CPUs there will
// be if all come up. pf_smp_settle waits: a CPU that does not come up within the given time (of the
// one before it) is logged and left out; returns the number now online. Each is called once.
uint32_t pf_smp_begin(void (*entry)(uint32_t index));
uint32_t pf_smp_settle(uint64_t within_ns);
uint32_t pf_smp_start(void (*entry)(uint32_t index)); // both, 100 ms

// Halts until an interrupt has been handled. Interrupts off on entry and on return. While it
// sleeps, a CPU takes no part in TLB flushes: it catches up before any handler runs.
void pf_cpu_sleep(void);

#endif
