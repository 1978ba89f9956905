// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The APICs as hardware: register access, start-up of each CPU's local APIC, the timer's set-up,
// the I/O APICs' redirection tables, the 8259s off. Sources: Intel SDM vol. 3A ch. 11; 82093AA.
#include "platform/apic/apic.h"

#include "platform/acpi.h"
#include "platform/clock/reference.h"
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"
#include "platform/smp.h"

#include <errno.h>
#include <stddef.h>

#define MSR_APIC_BASE       0x1bu
#define APIC_BASE_ENABLE    (1u << 11)
#define APIC_BASE_X2        (1u << 10)
#define MSR_X2APIC          0x800u
#define TIMER_DIVIDE_BY_ONE 0x0bu

static volatile uint32_t *lapic_registers;

static uint32_t memory_read(void *ctx, unsigned reg)
{
    (void)ctx;
    return lapic_registers[reg * 4];
}
static void memory_write(void *ctx, unsigned reg, uint32_t value)
{
    (void)ctx;
    lapic_registers[reg * 4] = value;
}
static uint32_t msr_read(void *ctx, unsigned reg)
{
    (void)ctx;
    return (uint32_t)pf_rdmsr(MSR_X2APIC + reg);
}
static void msr_write(void *ctx, unsigned reg, uint32_t value)
{
    (void)ctx;
    pf_wrmsr(MSR_X2APIC + reg, value);
}
static void msr_write64(void *ctx, unsigned reg, uint64_t value)
{
    (void)ctx;
    // x2APIC writes are not serialising: earlier stores must be visible before the interrupt is
    // (SDM 3A 11.12.3).
    __asm__ volatile("mfence; lfence" ::: "memory");
    pf_wrmsr(MSR_X2APIC + reg, value);
}

// Chosen by the boot CPU, constant afterwards.
static struct lapic lapic;
// The boot CPU's timer still counts down from its start (see clock/reference.h).
static bool timer_free;

static struct {
    volatile uint32_t *registers;
    uint32_t gsi_base, count;
} ioapic[4];
static struct pf_spin ioapic_lock;

void pf_lapic_eoi(void)
{
    lapic_eoi(&lapic);
}

uint32_t pf_lapic_id(void)
{
    return lapic_id(&lapic);
}

static void enable_this_cpu(void)
{
    uint64_t base = pf_rdmsr(MSR_APIC_BASE);
    uint64_t want = base | APIC_BASE_ENABLE;
    if (base != want) {
        pf_wrmsr(MSR_APIC_BASE, want);
    }
    if (lapic.x2 && !(base & APIC_BASE_X2)) {
        pf_wrmsr(MSR_APIC_BASE, want | APIC_BASE_X2);
    }
    lapic_enable(&lapic, PF_VECTOR_SPURIOUS);
    lapic.write(lapic.ctx, LAPIC_TIMER_DIV, TIMER_DIVIDE_BY_ONE);
    if (pf_cpu_features()->tsc_deadline) {
        lapic.write(lapic.ctx, LAPIC_LVT_TIMER, LAPIC_TIMER_DEADLINE | PF_VECTOR_TIMER);
        // The MSR must not be written before the mode change is seen (SDM 3A 11.5.4.1).
        __asm__ volatile("mfence" ::: "memory");
    } else {
        lapic.write(lapic.ctx, LAPIC_LVT_TIMER, PF_VECTOR_TIMER);
    }
}

static void mask_8259(void)
{
    // Remapped away from the exceptions first: a spurious IRQ 7 can still come through.
    static const struct {
        uint16_t port;
        uint8_t value;
    } sequence[] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28}, {0x21, 0x04},
                    {0xa1, 0x02}, {0x21, 0x01}, {0xa1, 0x01}, {0x21, 0xff}, {0xa1, 0xff}};
    for (unsigned i = 0; i < sizeof(sequence) / sizeof(sequence[0]); i++) {
        pf_out8(sequence[i].port, sequence[i].value);
    }
}

static uint32_t ioapic_read(unsigned n, uint32_t reg)
{
    ioapic[n].registers[0] = reg;
    return ioapic[n].registers[4];
}

static void ioapic_write(unsigned n, uint32_t reg, uint32_t value)
{
    ioapic[n].registers[0] = reg;
    ioapic[n].registers[4] = value;
}

static void ioapic_init(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    for (unsigned n = 0; n < acpi->ioapic_count; n++) {
        ioapic[n].registers =
            pf_map_device(acpi->ioapic[n].phys, 64, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
        if (ioapic[n].registers == NULL) {
            pf_printk("apic: cannot map I/O APIC %u\n", n);
            continue;
        }
        ioapic[n].gsi_base = acpi->ioapic[n].gsi_base;
        ioapic[n].count = ((ioapic_read(n, 1) >> 16) & 0xff) + 1;
        for (uint32_t pin = 0; pin < ioapic[n].count && pin < 120; pin++) {
            if (!(ioapic_read(n, 0x10 + 2 * pin) & IOAPIC_ENTRY_MASKED)) {
                ioapic_write(n, 0x10 + 2 * pin, IOAPIC_ENTRY_MASKED);
            }
        }
    }
}

int pf_ioapic_set(unsigned gsi, uint64_t entry)
{
    for (unsigned n = 0; n < 4; n++) {
        if (ioapic[n].registers && gsi >= ioapic[n].gsi_base &&
            gsi - ioapic[n].gsi_base < ioapic[n].count) {
            uint32_t reg = 0x10 + 2 * (gsi - ioapic[n].gsi_base);
            uint64_t flags = pf_spin_lock(&ioapic_lock);
            ioapic_write(n, reg, IOAPIC_ENTRY_MASKED); // destination changes while masked
            ioapic_write(n, reg + 1, (uint32_t)(entry >> 32));
            ioapic_write(n, reg, (uint32_t)entry);
            pf_spin_unlock(&ioapic_lock, flags);
            return 0;
        }
    }
    return -EINVAL;
}

void pf_apic_init_boot(void)
{
    const struct pf_cpu_features *features = pf_cpu_features();
    // Firmware that has switched to x2APIC has done so for good.
    bool x2 = features->x2apic || (pf_rdmsr(MSR_APIC_BASE) & APIC_BASE_X2);
    if (x2) {
        lapic = (struct lapic){true, msr_read, msr_write, msr_write64, NULL};
    } else {
        lapic_registers = pf_map_device(pf_acpi()->lapic_phys, PF_PAGE,
                                        PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
        if (lapic_registers == NULL) {
            pf_panic("cannot map the local APIC at %lx", pf_acpi()->lapic_phys);
        }
        lapic = (struct lapic){false, memory_read, memory_write, NULL, NULL};
    }
    mask_8259();
    enable_this_cpu();
    if (!features->tsc_deadline) {
        // Runs free, masked, until the first pf_timer_arm: a reference for the clock.
        lapic.write(lapic.ctx, LAPIC_LVT_TIMER, LAPIC_MASKED | PF_VECTOR_TIMER);
        lapic.write(lapic.ctx, LAPIC_TIMER_INIT, UINT32_MAX);
        timer_free = true;
    }
    ioapic_init();
}

void pf_apic_init_ap(void)
{
    enable_this_cpu();
}

bool pf_lapic_timer_running_free(void)
{
    return timer_free;
}

uint32_t pf_lapic_timer_elapsed(void)
{
    return timer_free ? UINT32_MAX - lapic.read(lapic.ctx, LAPIC_TIMER_NOW) : 0;
}

void pf_lapic_timer_start(uint32_t ticks)
{
    if (timer_free && pf_cpu_index() == 0) {
        timer_free = false;
        lapic.write(lapic.ctx, LAPIC_TIMER_INIT, 0);
        lapic.write(lapic.ctx, LAPIC_LVT_TIMER, PF_VECTOR_TIMER);
    }
    lapic.write(lapic.ctx, LAPIC_TIMER_INIT, ticks);
}

static bool command(uint32_t apic_id, uint32_t value)
{
    // The two halves of the xAPIC command register belong together: no interrupt in between.
    uint64_t flags = pf_irq_save();
    bool sent = lapic_command(&lapic, apic_id, value);
    pf_irq_restore(flags);
    return sent;
}

void pf_lapic_send_ipi(uint32_t apic_id, uint8_t vector)
{
    command(apic_id, LAPIC_ICR_FIXED | LAPIC_ICR_ASSERT | vector);
}

void pf_lapic_send_nmi(uint32_t apic_id)
{
    if (lapic.read) { // a crash before the APIC is up stops nobody
        command(apic_id, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT);
    }
}

// MP Specification B.4: INIT, 10 ms, SIPI, 200 us, SIPI. Hypervisors latch the messages and need no
// pauses.
int pf_lapic_send_init_sipi(uint32_t apic_id, uint8_t page)
{
    if (!command(apic_id, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT)) {
        return -ETIMEDOUT;
    }
    bool virtual = pf_cpu_features()->hypervisor;
    pf_delay_us(virtual ? 20 : 10000);
    for (int i = 0; i < 2; i++) {
        if (!command(apic_id, LAPIC_ICR_STARTUP | LAPIC_ICR_ASSERT | page)) {
            return -ETIMEDOUT;
        }
        if (i == 0) {
            pf_delay_us(virtual ? 20 : 200);
        }
    }
    return 0;
}
