// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Interrupt vectors and their handlers. Every handler runs on an IST stack with interrupts off,
// is built with general registers only, marks work and returns within microseconds. It may call
// pf_ functions marked irq-safe and the libos's irq-safe wakes, nothing else.
#ifndef PLATFORM_IRQ_H
#define PLATFORM_IRQ_H

#include <stdint.h>

typedef void (*pf_irq_handler)(void *arg);

// Takes a free vector (0x30..0xdf), the same on every CPU. Returns it or -ENOSPC.
int pf_irq_alloc(pf_irq_handler handler, void *arg);
void pf_irq_free(int vector);
// MSI address/data that raises `vector` on CPU `cpu_index`.
void pf_msi_message(int vector, uint32_t cpu_index, uint64_t *address, uint32_t *data);
// Routes a legacy ISA interrupt or GSI (with MADT overrides; level/polarity from there, or as
// given by `level`/`active_low` when >= 0) to `vector` on the boot CPU and unmasks it.
int pf_irq_route_isa(unsigned isa_irq, int vector);
int pf_irq_route_gsi(unsigned gsi, int vector, int level, int active_low);
// Interrupts another CPU (irq-safe). Its idle loop wakes; pf_ipi_handler, if set, runs there.
void pf_ipi_wake(uint32_t cpu_index);
void pf_ipi_handler(pf_irq_handler handler);
// One-shot timer interrupt on this CPU at `deadline` (pf_now_ns scale); 0 disarms. irq-safe.
void pf_timer_arm(uint64_t deadline_ns);
// Called on a CPU when its timer fires.
void pf_timer_handler(pf_irq_handler handler);

#endif
