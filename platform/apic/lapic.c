// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Local APIC logic over an access layer, and the bit packing around it. Source: Intel SDM vol. 3A
// ch. 11; 82093AA (I/O APIC) data sheet.
#include "platform/apic/lapic.h"

uint32_t lapic_id(const struct lapic *l)
{
    uint32_t v = l->read(l->ctx, LAPIC_ID);
    return l->x2 ? v : v >> 24;
}

void lapic_enable(const struct lapic *l, uint8_t spurious)
{
    static const uint8_t local_sources[] = {LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL, LAPIC_LVT_PERF,
                                            LAPIC_LVT_LINT0, LAPIC_LVT_LINT1,   LAPIC_LVT_ERROR};
    // Enabled first: while the APIC is off by software its mask bits cannot be cleared later.
    l->write(l->ctx, LAPIC_SVR, 0x100u | spurious);
    for (unsigned i = 0; i < sizeof(local_sources); i++) {
        l->write(l->ctx, local_sources[i], LAPIC_MASKED);
    }
    // The board wires its NMI button (virsh inject-nmi) to LINT1.
    l->write(l->ctx, LAPIC_LVT_LINT1, LAPIC_ICR_NMI);
    l->write(l->ctx, LAPIC_TPR, 0);
    l->write(l->ctx, LAPIC_ESR, 0);
}

static bool wait_idle(const struct lapic *l)
{
    for (int i = 0; i < 100000; i++) {
        if (!(l->read(l->ctx, LAPIC_ICR) & LAPIC_ICR_PENDING)) {
            return true;
        }
    }
    return false;
}

bool lapic_command(const struct lapic *l, uint32_t apic_id, uint32_t command)
{
    if (l->x2) {
        l->write64(l->ctx, LAPIC_ICR, (uint64_t)apic_id << 32 | command);
        return true;
    }
    if (apic_id > 0xff || !wait_idle(l)) {
        return false;
    }
    l->write(l->ctx, LAPIC_ICR_HIGH, apic_id << 24);
    l->write(l->ctx, LAPIC_ICR, command); // the low half sends
    return true;
}

uint64_t ioapic_entry(uint8_t vector, uint8_t dest_apic_id, bool level, bool active_low)
{
    return (uint64_t)dest_apic_id << 56 | (uint64_t)level << 15 | (uint64_t)active_low << 13 |
           vector;
}

void inti_flags(uint16_t flags, bool *level, bool *active_low)
{
    *active_low = (flags & 3) == 3;
    *level = ((flags >> 2) & 3) == 3;
}

uint32_t timer_ticks(uint64_t ns, uint64_t hz)
{
    // Split so that the product cannot overflow: whole seconds, then the rest.
    uint64_t seconds = ns / 1000000000u;
    uint64_t rest = ns % 1000000000u;
    if (hz == 0 || seconds > UINT32_MAX / hz) {
        return UINT32_MAX;
    }
    uint64_t ticks = seconds * hz + rest * (hz / 1000) / 1000000u;
    if (ticks > UINT32_MAX) {
        return UINT32_MAX;
    }
    return ticks ? (uint32_t)ticks : 1;
}
