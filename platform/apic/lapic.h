// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The local APIC in its two forms behind one set of register numbers. xAPIC: memory-mapped, the
// interrupt command is two 32-bit registers. x2APIC: MSRs, one 64-bit command. Source: Intel SDM
// vol. 3A ch. 11.
#ifndef PLATFORM_APIC_LAPIC_H
#define PLATFORM_APIC_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

// Register numbers as in the x2APIC MSR space (MSR 0x800 + number); xAPIC offset = number * 16.
enum {
    LAPIC_ID = 0x02,
    LAPIC_TPR = 0x08,
    LAPIC_EOI = 0x0b,
    LAPIC_SVR = 0x0f,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31, // xAPIC only
    LAPIC_LVT_TIMER = 0x32,
    LAPIC_LVT_THERMAL = 0x33,
    LAPIC_LVT_PERF = 0x34,
    LAPIC_LVT_LINT0 = 0x35,
    LAPIC_LVT_LINT1 = 0x36,
    LAPIC_LVT_ERROR = 0x37,
    LAPIC_TIMER_INIT = 0x38,
    LAPIC_TIMER_NOW = 0x39,
    LAPIC_TIMER_DIV = 0x3e,
};

enum {
    LAPIC_MASKED = 1 << 16,
    LAPIC_TIMER_DEADLINE = 2 << 17,
    LAPIC_ICR_FIXED = 0 << 8,
    LAPIC_ICR_NMI = 4 << 8,
    LAPIC_ICR_INIT = 5 << 8,
    LAPIC_ICR_STARTUP = 6 << 8,
    LAPIC_ICR_PENDING = 1 << 12, // xAPIC only
    LAPIC_ICR_ASSERT = 1 << 14,
    LAPIC_ICR_OTHERS = 3 << 18,
};

// How registers are reached; on the machine memory or MSRs, in tests an array.
struct lapic {
    bool x2;
    uint32_t (*read)(void *ctx, unsigned reg);
    void (*write)(void *ctx, unsigned reg, uint32_t value);
    void (*write64)(void *ctx, unsigned reg, uint64_t value); // x2APIC command register
    void *ctx;
};

uint32_t lapic_id(const struct lapic *l);
// Enables the APIC with `spurious` as spurious vector, all local sources masked, all priorities
// accepted. Works the same on every CPU.
void lapic_enable(const struct lapic *l, uint8_t spurious);
// Sends `command` (LAPIC_ICR_ bits and vector) to `apic_id`, ignored with LAPIC_ICR_OTHERS. False
// when the previous message is still pending after a bounded wait, or the id does not fit.
bool lapic_command(const struct lapic *l, uint32_t apic_id, uint32_t command);

static inline void lapic_eoi(const struct lapic *l)
{
    l->write(l->ctx, LAPIC_EOI, 0);
}

// One I/O APIC redirection entry. Source: 82093AA data sheet, 3.2.4.
uint64_t ioapic_entry(uint8_t vector, uint8_t dest_apic_id, bool level, bool active_low);
#define IOAPIC_ENTRY_MASKED (1ull << 16)

// MPS INTI flags (MADT overrides) to trigger and polarity; "conforms" means the ISA bus's own:
// edge, active high.
void inti_flags(uint16_t flags, bool *level, bool *active_low);

// Ticks of a timer at `hz` in `ns`, at least 1, at most UINT32_MAX.
uint32_t timer_ticks(uint64_t ns, uint64_t hz);

#endif
