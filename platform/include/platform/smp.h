// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Other CPUs: counted from the MADT, started by INIT-SIPI-SIPI.
#ifndef PLATFORM_SMP_H
#define PLATFORM_SMP_H

#include "platform/cpu.h"

// CPUs running now, and CPUs the MADT lists (at most PF_MAX_CPUS).
uint32_t pf_cpu_online(void);
uint32_t pf_cpu_present(void);
struct pf_cpu *pf_cpu(uint32_t index);

// Starts all present CPUs; each calls entry(index) on its own 16 KB guarded stack, interrupts off,
// and must never return. Returns the number now online; a CPU that does not come up within
// 100 ms of the one before it is logged and left out.
uint32_t pf_smp_start(void (*entry)(uint32_t index));

#endif
