// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Private to platform/: how pf_start brings the machine up, and what the parts need of each other.
#ifndef PLATFORM_PRIV_INIT_H
#define PLATFORM_PRIV_INIT_H

#include <stdint.h>

// In the order in which pf_start calls them, on the boot CPU with interrupts off.
void pf_serial_early_init(void);       // polled output; needs nothing else
void pf_acpi_init(uint64_t rsdp_phys); // needs paging (pf_map_device)
void pf_apic_init_boot(void);          // local APIC of the boot CPU, IOAPICs masked, 8259 off
void pf_apic_init_ap(void);            // on each other CPU, after its GS base is set
void pf_clock_init(void);              // pf_now_ns works from here on
void pf_irq_init(void);                // vectors, the timer
void pf_pci_init(void);
void pf_generation_init(void); // needs paging
void pf_serial_init_irq(void);
void pf_power_init(void);

// Runs the handler of `vector` (0x20..0xff) and ends the interrupt. Called by the trap stubs on
// an IST stack, interrupts off.
void pf_irq_dispatch(unsigned vector);
// INIT, then two SIPIs that start the CPU at physical page * 4096. 0, or -ETIMEDOUT when the
// local APIC does not take the message.
int pf_lapic_send_init_sipi(uint32_t apic_id, uint8_t page);
// NMI to one CPU (the crash report stops the machine with it).
void pf_lapic_send_nmi(uint32_t apic_id);
// A fixed interrupt `vector` to one CPU. irq-safe.
void pf_lapic_send_ipi(uint32_t apic_id, uint8_t vector);
uint32_t pf_lapic_id(void);

// Busy wait; works from pf_clock_init on (before: by port delays of about a microsecond each).
void pf_delay_us(uint32_t microseconds);

// Vectors that the platform keeps for itself; pf_irq_alloc hands out the range between.
enum {
    PF_VECTOR_FIRST = 0x30,
    PF_VECTOR_LAST = 0xdf,
    PF_VECTOR_TIMER = 0xe0,
    PF_VECTOR_WAKE = 0xe1,
    PF_VECTOR_TLB = 0xe2, // shoot-down IPI: handler set by paging with pf_irq_fixed
    PF_VECTOR_SPURIOUS = 0xff,
};
// Sets the handler of one of the fixed vectors above.
void pf_irq_fixed(unsigned vector, void (*handler)(void *arg), void *arg);

#endif
