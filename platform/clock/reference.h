// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Counters of known frequency to hold the TSC against: HPET, ACPI PM timer, the emulator's local
// APIC timer, the 8254.
#ifndef PLATFORM_CLOCK_REFERENCE_H
#define PLATFORM_CLOCK_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

struct clock_reference {
    const char *name; // as in pf_clock_name
    uint64_t hz;
    uint64_t mask; // the counter counts up modulo mask + 1
    uint64_t (*read)(void);
};
// The best one that this machine has and that really counts; false if none.
bool clock_reference_find(struct clock_reference *out);

struct clock_sample {
    uint64_t tsc, count;
};
// A pair read as close together as a few tries give.
struct clock_sample clock_reference_sample(const struct clock_reference *r);
// TSC Hz from two samples less than one wrap apart; 0 if the counter did not move.
uint64_t clock_reference_hz(const struct clock_reference *r, struct clock_sample a,
                            struct clock_sample b);

// The boot CPU's local APIC timer counts down from UINT32_MAX from pf_apic_init_boot until it is
// first armed.
uint32_t pf_lapic_timer_elapsed(void);
bool pf_lapic_timer_running_free(void);
// Measured frequency of the local APIC timer, for timer ticks (apic/irq.c).
extern uint64_t pf_lapic_timer_hz;

// Called when the free-running local APIC timer is about to be taken: last chance to measure.
void pf_clock_refine(void);
// TSC value at which `deadline_ns` is reached.
uint64_t pf_clock_deadline_tsc(uint64_t deadline_ns);

#endif
