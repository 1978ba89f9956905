// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reference counters for the TSC. Sources: IA-PC HPET 1.0a, ch. 2; ACPI 6.4, 4.8.3.3 (PM timer);
// Intel 8254 data sheet; Intel SDM vol. 3A 11.5.4 (local APIC timer).
#include "platform/clock/reference.h"

#include "platform/acpi.h"
#include "platform/clock/convert.h"
#include "platform/cpu.h"
#include "platform/paging.h"

#define PM_TIMER_HZ 3579545u
#define PIT_HZ      1193182u
// QEMU's own local APIC timer counts nanoseconds of the virtual clock.
#define EMULATED_APIC_HZ 1000000000u

static volatile uint64_t *hpet;
static uint16_t pm_timer_port;

static uint64_t read_hpet(void)
{
    return hpet[0xf0 / 8];
}

static uint64_t read_pm_timer(void)
{
    return pf_in32(pm_timer_port);
}

static uint64_t read_lapic(void)
{
    return pf_lapic_timer_elapsed();
}

// Channel 2 counts down modulo 65536; latch, then low and high byte.
static uint64_t read_pit(void)
{
    pf_out8(0x43, 0x80);
    unsigned low = pf_in8(0x42);
    unsigned high = pf_in8(0x42);
    return 0xffffu - (high << 8 | low);
}

static bool hpet_start(struct clock_reference *out)
{
    uint64_t phys = pf_acpi()->hpet_phys;
    if (phys == 0) {
        return false;
    }
    hpet = pf_map_device(phys, 1024, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    if (hpet == NULL) {
        return false;
    }
    uint64_t femtoseconds = hpet[0] >> 32;
    if (femtoseconds < 100000 || femtoseconds > 100000000) { // over 100 ns is out of the standard
        return false;
    }
    hpet[0x10 / 8] = hpet[0x10 / 8] | 1; // main counter on
    *out = (struct clock_reference){"tsc (hpet)", 1000000000000000ull / femtoseconds,
                                    (hpet[0] & 1u << 13) ? UINT64_MAX : UINT32_MAX, read_hpet};
    return true;
}

static bool pm_timer_start(struct clock_reference *out)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    if (acpi->pm_timer_port == 0) {
        return false;
    }
    pm_timer_port = (uint16_t)acpi->pm_timer_port;
    *out = (struct clock_reference){"tsc (pm timer)", PM_TIMER_HZ,
                                    acpi->pm_timer_32bit ? UINT32_MAX : 0xffffff, read_pm_timer};
    return true;
}

static bool pit_start(struct clock_reference *out)
{
    pf_out8(0x61, (uint8_t)((pf_in8(0x61) & ~2) | 1)); // gate on, speaker off
    pf_out8(0x43, 0xb4);                               // channel 2, both bytes, rate generator
    pf_out8(0x42, 0);                                  // 65536
    pf_out8(0x42, 0);
    *out = (struct clock_reference){"tsc (pit)", PIT_HZ, 0xffff, read_pit};
    return true;
}

static bool lapic_start(struct clock_reference *out)
{
    // Only the emulator's has a known rate; hardware's is what we would have to measure.
    static const char tcg[] = "TCGTCGTCGTCG";
    const char *vendor = pf_cpu_features()->hypervisor_vendor;
    for (unsigned i = 0; i < sizeof(tcg); i++) {
        if (vendor[i] != tcg[i]) {
            return false;
        }
    }
    *out = (struct clock_reference){"tsc (apic timer)", EMULATED_APIC_HZ, UINT32_MAX, read_lapic};
    // It is then known, too, what deadlines take.
    pf_lapic_timer_hz = EMULATED_APIC_HZ;
    return pf_lapic_timer_running_free();
}

// A counter that is named but dead must not stall or fool us: it has to move within a few reads.
static bool counts(const struct clock_reference *r)
{
    uint64_t first = r->read();
    for (int i = 0; i < 1000; i++) {
        if (r->read() != first) {
            return true;
        }
    }
    return false;
}

bool clock_reference_find(struct clock_reference *out)
{
    return (lapic_start(out) && counts(out)) || (hpet_start(out) && counts(out)) ||
           (pm_timer_start(out) && counts(out)) || (pit_start(out) && counts(out));
}

struct clock_sample clock_reference_sample(const struct clock_reference *r)
{
    struct clock_sample best = {0, 0};
    uint64_t best_gap = UINT64_MAX;
    // An interrupted host thread stretches single tries; the tightest of a few is good.
    for (int i = 0; i < 8; i++) {
        uint64_t before = pf_rdtsc();
        uint64_t count = r->read();
        uint64_t after = pf_rdtsc();
        if (after - before < best_gap) {
            best_gap = after - before;
            best = (struct clock_sample){before + best_gap / 2, count};
        }
    }
    return best;
}

uint64_t clock_reference_hz(const struct clock_reference *r, struct clock_sample a,
                            struct clock_sample b)
{
    uint64_t ticks = (b.count - a.count) & r->mask;
    if (ticks == 0 || b.tsc <= a.tsc) {
        return 0;
    }
    return clock_mul_div(b.tsc - a.tsc, r->hz, ticks);
}
