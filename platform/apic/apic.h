// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's local and I/O APICs, as irq.c uses them.
#ifndef PLATFORM_APIC_APIC_H
#define PLATFORM_APIC_APIC_H

#include "platform/apic/lapic.h"

void pf_lapic_eoi(void);
// Starts this CPU's one-shot timer, 0 stops it.
void pf_lapic_timer_start(uint32_t ticks);
// Writes the redirection entry of `gsi`. 0, -EINVAL if no I/O APIC has it.
int pf_ioapic_set(unsigned gsi, uint64_t entry);

#endif
