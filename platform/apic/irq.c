// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Vectors and their handlers, routing through the I/O APIC, inter-processor interrupts, and the
// one-shot timer. Sources: Intel SDM vol. 3A ch. 11; 82093AA data sheet.
#include "platform/irq.h"

#include "platform/acpi.h"
#include "platform/apic/apic.h"
#include "platform/clock/reference.h"
#include "platform/cpu.h"
#include "platform/paging/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <errno.h>
#include <stddef.h>

#define MSR_TSC_DEADLINE 0x6e0u

// Written under vectors_lock; read without it by pf_irq_dispatch, so `arg` is stored before
// `handler` (release) and a free vector has handler NULL.
static struct {
    pf_irq_handler handler;
    void *arg;
} vectors[256];
static struct pf_spin vectors_lock;

// Armed deadline of each CPU's timer, 0 = disarmed. Owner: that CPU.
static uint64_t armed[PF_MAX_CPUS];

static void set_handler(unsigned vector, pf_irq_handler handler, void *arg)
{
    vectors[vector].arg = arg;
    __atomic_store_n(&vectors[vector].handler, handler, __ATOMIC_RELEASE);
}

void pf_irq_dispatch(unsigned vector)
{
    struct pf_cpu *cpu = pf_this_cpu();
    cpu->irq_count++;
    pf_tlb_wake(); // before anything that may have been mapped anew while this CPU slept
    vector &= 0xff;
    if (vector == PF_VECTOR_SPURIOUS) {
        return; // not in service: an EOI would end another interrupt
    }
    pf_irq_handler handler = __atomic_load_n(&vectors[vector].handler, __ATOMIC_ACQUIRE);
    if (handler) {
        handler(vectors[vector].arg);
    }
    pf_lapic_eoi();
}

int pf_irq_alloc(pf_irq_handler handler, void *arg)
{
    int found = -ENOSPC;
    uint64_t flags = pf_spin_lock(&vectors_lock);
    for (unsigned v = PF_VECTOR_FIRST; v <= PF_VECTOR_LAST; v++) {
        if (vectors[v].handler == NULL) {
            set_handler(v, handler, arg);
            found = (int)v;
            break;
        }
    }
    pf_spin_unlock(&vectors_lock, flags);
    return found;
}

void pf_irq_free(int vector)
{
    if (vector < PF_VECTOR_FIRST || vector > PF_VECTOR_LAST) {
        return;
    }
    uint64_t flags = pf_spin_lock(&vectors_lock);
    set_handler((unsigned)vector, NULL, NULL);
    pf_spin_unlock(&vectors_lock, flags);
}

void pf_irq_fixed(unsigned vector, void (*handler)(void *arg), void *arg)
{
    set_handler(vector & 0xff, handler, arg);
}

void pf_msi_message(int vector, uint32_t cpu_index, uint64_t *address, uint32_t *data)
{
    const struct pf_cpu *cpu = pf_cpu(cpu_index);
    uint32_t apic_id = cpu ? cpu->apic_id : pf_cpu(0)->apic_id;
    *address = 0xfee00000u | (apic_id & 0xff) << 12; // physical destination, no redirection
    *data = (uint32_t)vector & 0xff;                 // fixed delivery, edge
}

int pf_irq_route_gsi(unsigned gsi, int vector, int level, int active_low)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    if (vector < 0x20 || vector > 0xfe) {
        return -EINVAL;
    }
    bool is_level = gsi >= 16, is_low = gsi >= 16; // PCI lines, unless told otherwise
    for (uint32_t i = 0; i < acpi->override_count; i++) {
        if (acpi->isa_override[i].gsi == gsi) {
            inti_flags(acpi->isa_override[i].flags, &is_level, &is_low);
        }
    }
    if (level >= 0) {
        is_level = level != 0;
    }
    if (active_low >= 0) {
        is_low = active_low != 0;
    }
    return pf_ioapic_set(
        gsi, ioapic_entry((uint8_t)vector, (uint8_t)pf_cpu(0)->apic_id, is_level, is_low));
}

int pf_irq_route_isa(unsigned isa_irq, int vector)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    for (uint32_t i = 0; i < acpi->override_count; i++) {
        if (acpi->isa_override[i].isa_irq == isa_irq) {
            return pf_irq_route_gsi(acpi->isa_override[i].gsi, vector, -1, -1);
        }
    }
    return pf_irq_route_gsi(isa_irq, vector, -1, -1);
}

void pf_ipi_wake(uint32_t cpu_index)
{
    const struct pf_cpu *cpu = pf_cpu(cpu_index);
    if (cpu) {
        pf_lapic_send_ipi(cpu->apic_id, PF_VECTOR_WAKE);
    }
}

void pf_ipi_handler(pf_irq_handler handler)
{
    set_handler(PF_VECTOR_WAKE, handler, NULL);
}

static void program(uint64_t deadline_ns)
{
    if (pf_cpu_features()->tsc_deadline) {
        // Ordered after the LVT write of pf_lapic_timer_setup; 0 disarms (SDM 3A 11.5.4.1).
        pf_wrmsr(MSR_TSC_DEADLINE, deadline_ns ? pf_clock_deadline_tsc(deadline_ns) : 0);
        return;
    }
    uint32_t ticks = 0;
    if (deadline_ns) {
        uint64_t now = pf_now_ns();
        ticks = timer_ticks(deadline_ns > now ? deadline_ns - now : 1, pf_lapic_timer_hz);
    }
    pf_lapic_timer_start(ticks);
}

void pf_timer_arm(uint64_t deadline_ns)
{
    uint64_t flags = pf_irq_save();
    uint32_t cpu = pf_cpu_index();
    if (cpu == 0 && pf_lapic_timer_running_free()) {
        pf_clock_refine();
    }
    if (deadline_ns || armed[cpu]) {
        armed[cpu] = deadline_ns;
        program(deadline_ns);
    }
    pf_irq_restore(flags);
}

static pf_irq_handler timer_handler;

static void on_timer(void *arg)
{
    (void)arg;
    uint32_t cpu = pf_cpu_index();
    uint64_t deadline = armed[cpu];
    if (deadline == 0) {
        return; // disarmed while it was on its way
    }
    // A long deadline is beyond the counter's reach, and a measured rate may run a little fast.
    if (pf_now_ns() < deadline) {
        program(deadline);
        return;
    }
    armed[cpu] = 0;
    pf_irq_handler handler = __atomic_load_n(&timer_handler, __ATOMIC_ACQUIRE);
    if (handler) {
        handler(NULL);
    }
}

void pf_timer_handler(pf_irq_handler handler)
{
    __atomic_store_n(&timer_handler, handler, __ATOMIC_RELEASE);
}

void pf_irq_init(void)
{
    pf_irq_fixed(PF_VECTOR_TIMER, on_timer, NULL);
}
