// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the static ACPI tables say (no AML is interpreted). Source: ACPI 6.4 ch. 5.
#ifndef PLATFORM_ACPI_H
#define PLATFORM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_acpi_info {
    bool present; // false: what is filled in comes from the MP table, fw_cfg or defaults
    uint32_t cpu_count;
    uint32_t apic_id[64];
    uint64_t lapic_phys;
    uint32_t ioapic_count;
    struct {
        uint64_t phys;
        uint32_t gsi_base;
    } ioapic[4];
    uint32_t override_count;
    struct {
        uint8_t isa_irq;
        uint32_t gsi;
        uint16_t flags; // MPS INTI flags
    } isa_override[16];
    uint64_t ecam_phys; // 0: no MCFG
    uint8_t ecam_bus_start, ecam_bus_end;
    uint64_t hpet_phys;     // 0: none
    uint32_t pm_timer_port; // 0: none
    bool pm_timer_32bit;
    uint16_t sci_irq;
    uint32_t pm1a_event_port, pm1a_control_port, pm1_event_bytes;
    uint32_t smi_command_port; // 0: ACPI mode cannot be switched on by us
    uint8_t acpi_enable;       // value for it
    uint32_t reset_kind;       // 0 none, 1 io port, 2 memory
    uint64_t reset_address;
    uint8_t reset_value;
    bool hardware_reduced;      // microvm
    uint8_t sleep_control_kind; // as reset_kind
    uint64_t sleep_control_address;
    uint64_t ged_phys; // microvm's generic event device, 0: none
    uint32_t ged_gsi;
    uint32_t slp_typ_s5; // value for PM1 SLP_TYP
    uint32_t table_count;
    char table_signature[32][5];
};
const struct pf_acpi_info *pf_acpi(void);

#endif
