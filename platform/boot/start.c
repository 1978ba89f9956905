// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The boot CPU at its final address: everything between the wrapper and pf_main, in order.
#include "platform/boot/cmdline.h"
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/smp.h"
#include "platform/crash/crash.h"
#include "platform/paging/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"

#include <errno.h>

_Noreturn void pf_start(void);
void pf_syscall_init(void);

static struct pf_boot_stage stages[16]; // written by the boot CPU before pf_main
static size_t stage_count;

const struct pf_boot_info *pf_boot_info(void)
{
    return &pf_boot_record;
}

int pf_cmdline_get(const char *key, char *buf, size_t size)
{
    return pf_cmdline_find(pf_boot_record.cmdline, key, buf, size);
}

const struct pf_boot_stage *pf_boot_stages(size_t *count)
{
    *count = stage_count;
    return stages;
}

static void stage(const char *name)
{
    if (stage_count < sizeof stages / sizeof stages[0]) {
        stages[stage_count++] = (struct pf_boot_stage){name, pf_rdtsc()};
    }
}

_Noreturn void pf_start(void)
{
    stage("paging");
    pf_paging_init();
    pf_features_read();
    pf_control_init();
    pf_idt_init();
    pf_descriptors_load(0);
    pf_serial_early_init();
    if (pf_interrupt_stacks(0) != 0) {
        pf_early_fail("no memory for interrupt stacks");
    }
    pf_syscall_init();
    stage("cpu");
    pf_acpi_init(pf_boot_record.rsdp);
    stage("acpi");
    pf_apic_init_boot();
    pf_cpus[0].apic_id = pf_lapic_id();
    stage("apic");
    pf_clock_init();
    stage("clock");
    pf_irq_init();
    pf_tlb_init();
    pf_pci_init();
    pf_crash_devices_init();
    stage("pci");
    pf_generation_init();
    pf_serial_init_irq();
    pf_power_init();
    stage("serial and power");
    pf_irq_enable();
    pf_main();
}
