// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The power button: a fixed event of the PM1 registers announced by the SCI, or an event of the
// generic event device (QEMU's microvm). Source: ACPI 6.4, 4.8.3.1 (PM1 event), 4.8.2.3 (ACPI
// mode); QEMU docs/specs/acpi_hw_reduced_hotplug.
#include "platform/power/button.h"

#include "platform/acpi.h"
#include "platform/cpu.h"
#include "platform/irq.h"
#include "platform/paging.h"
#include "platform/power.h"

#include <stddef.h>

enum { PM1_PWRBTN = 1 << 8, PM1_CONTROL_SCI_EN = 1 };
enum { GED_EVENT_POWER_DOWN = 2 };

static uint16_t pm1_status, pm1_enable;
static volatile uint32_t *ged_selector;

// arg is stored before the function; the interrupt may come at any time.
static void (*button_pressed)(void *arg);
static void *button_arg;
static uint32_t missed; // pressed before anybody listened; atomic

void pf_power_button(void (*pressed)(void *arg), void *arg)
{
    button_arg = arg;
    __atomic_store_n(&button_pressed, pressed, __ATOMIC_SEQ_CST);
    if (pressed && __atomic_exchange_n(&missed, 0, __ATOMIC_SEQ_CST)) {
        pressed(arg);
    }
}

static void report(void)
{
    void (*pressed)(void *) = __atomic_load_n(&button_pressed, __ATOMIC_SEQ_CST);
    if (pressed) {
        pressed(button_arg);
    } else {
        __atomic_store_n(&missed, 1, __ATOMIC_SEQ_CST);
    }
}

static void on_sci(void *arg)
{
    (void)arg;
    uint16_t status = pf_in16(pm1_status);
    // All set bits are acknowledged (write one to clear), or the level would stay.
    pf_out16(pm1_status, status);
    if (status & PM1_PWRBTN) {
        report();
    }
}

static void on_ged(void *arg)
{
    (void)arg;
    uint32_t events = *ged_selector; // reading acknowledges
    if (events & GED_EVENT_POWER_DOWN) {
        report();
    }
}

static void enter_acpi_mode(const struct pf_acpi_info *acpi)
{
    uint16_t control = (uint16_t)acpi->pm1a_control_port;
    if (control == 0 || (pf_in16(control) & PM1_CONTROL_SCI_EN)) {
        return;
    }
    if (acpi->smi_command_port && acpi->acpi_enable) {
        pf_out8((uint16_t)acpi->smi_command_port, acpi->acpi_enable);
        for (int i = 0; i < 1000 && !(pf_in16(control) & PM1_CONTROL_SCI_EN); i++) {
            (void)pf_in8(0x80);
        }
    }
    if (!(pf_in16(control) & PM1_CONTROL_SCI_EN)) {
        // Firmware without SMM code leaves the bit to whoever comes (qboot).
        pf_out16(control, (uint16_t)(pf_in16(control) | PM1_CONTROL_SCI_EN));
    }
}

void pf_button_init(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    if (acpi->ged_phys) {
        ged_selector = pf_map_device(acpi->ged_phys, 4, PF_PROT_READ, PF_CACHE_UC);
        int vector = ged_selector ? pf_irq_alloc(on_ged, NULL) : -1;
        if (vector < 0 || pf_irq_route_gsi(acpi->ged_gsi, vector, 0, 0) != 0) {
            pf_printk("power: the power button has no interrupt\n");
        }
        return;
    }
    if (acpi->pm1a_event_port == 0 || acpi->pm1_event_bytes < 4) {
        return; // no button on this machine
    }
    pm1_status = (uint16_t)acpi->pm1a_event_port;
    pm1_enable = (uint16_t)(pm1_status + acpi->pm1_event_bytes / 2);
    enter_acpi_mode(acpi);
    int vector = pf_irq_alloc(on_sci, NULL);
    // The SCI is level, low active unless an override says otherwise (QEMU's does: high).
    int level = 1, active_low = 1;
    for (uint32_t i = 0; i < acpi->override_count; i++) {
        if (acpi->isa_override[i].gsi == acpi->sci_irq) {
            level = active_low = -1;
        }
    }
    if (vector < 0 || pf_irq_route_gsi(acpi->sci_irq, vector, level, active_low) != 0) {
        pf_printk("power: the power button has no interrupt\n");
        return;
    }
    pf_out16(pm1_status, 0xffff);
    pf_out16(pm1_enable, PM1_PWRBTN);
}
