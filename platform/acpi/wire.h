// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ACPI and MP table layouts, little-endian, packed. Sources: ACPI 6.4, 5.2; MP 1.4 ch. 4.
#ifndef PLATFORM_ACPI_WIRE_H
#define PLATFORM_ACPI_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_PACKED __attribute__((packed))

#define ACPI_RSDP_V1_BYTES 20u
struct acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length; // from here on only with revision >= 2
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

struct acpi_gas {  // generic address structure
    uint8_t space; // 0 memory, 1 port
    uint8_t bits, offset, access;
    uint64_t address;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_gas) == 12, "GAS");

struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic;
    uint32_t flags;
} ACPI_PACKED;

enum {
    ACPI_MADT_LAPIC = 0,
    ACPI_MADT_IOAPIC = 1,
    ACPI_MADT_OVERRIDE = 2,
    ACPI_MADT_LAPIC_64 = 5,
    ACPI_MADT_X2APIC = 9,
};
union acpi_madt_entry {
    uint8_t type;
    struct {
        uint8_t type, length, processor, apic_id;
        uint32_t flags;
    } ACPI_PACKED lapic;
    struct {
        uint8_t type, length, id, reserved;
        uint32_t phys, gsi_base;
    } ACPI_PACKED ioapic;
    struct {
        uint8_t type, length, bus, irq;
        uint32_t gsi;
        uint16_t flags;
    } ACPI_PACKED override;
    struct {
        uint8_t type, length;
        uint16_t reserved;
        uint64_t phys;
    } ACPI_PACKED lapic64;
    struct {
        uint8_t type, length;
        uint16_t reserved;
        uint32_t apic_id, flags, processor;
    } ACPI_PACKED x2apic;
} ACPI_PACKED;
_Static_assert(sizeof(union acpi_madt_entry) == 16, "MADT entry");

#define ACPI_MCFG_FIRST 44u
struct acpi_mcfg_entry {
    uint64_t base;
    uint16_t segment;
    uint8_t bus_start, bus_end;
    uint32_t reserved;
} ACPI_PACKED;

struct acpi_hpet {
    struct acpi_header header;
    uint32_t id;
    struct acpi_gas base;
} ACPI_PACKED;

#define ACPI_FADT_V1_BYTES    116u
#define ACPI_FADT_TIMER_32BIT (1u << 8)
#define ACPI_FADT_RESET_REG   (1u << 10)
#define ACPI_FADT_HW_REDUCED  (1u << 20)
struct acpi_fadt {
    struct acpi_header header;
    uint32_t facs, dsdt;
    uint8_t reserved0, profile;
    uint16_t sci_irq;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
    uint32_t gpe0, gpe1;
    uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
    uint8_t gpe0_bytes, gpe1_bytes, gpe1_base, cst;
    uint16_t p_lvl2, p_lvl3, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_flags;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    uint16_t arm_flags;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
    struct acpi_gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control;
    struct acpi_gas x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
    uint64_t hypervisor;
} ACPI_PACKED;
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "FADT flags");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT X_DSDT");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT");

// Where QEMU's microvm puts its generic event device (its DSDT says so, in AML).
#define ACPI_QEMU_GED_PHYS  0xfea00000ull
#define ACPI_QEMU_GED_SLEEP 0x200ull
#define ACPI_QEMU_GED_GSI   9u
// Where it has the ECAM of its PCI Express host (HID PNP0A08).
#define ACPI_QEMU_MICROVM_ECAM 0xe0000000ull

struct mp_floating {
    char signature[4]; // "_MP_"
    uint32_t table;
    uint8_t length, revision, checksum, features[5];
} ACPI_PACKED;
_Static_assert(sizeof(struct mp_floating) == 16, "MP floating pointer");

struct mp_table {
    char signature[4]; // "PCMP"
    uint16_t length;
    uint8_t revision, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_bytes, entry_count;
    uint32_t lapic;
    uint16_t extended_bytes;
    uint8_t extended_checksum, reserved;
} ACPI_PACKED;
_Static_assert(sizeof(struct mp_table) == 44, "MP table");

enum { MP_CPU = 0, MP_BUS = 1, MP_IOAPIC = 2, MP_IO_INTERRUPT = 3, MP_LOCAL_INTERRUPT = 4 };
union mp_entry {
    uint8_t type;
    struct {
        uint8_t type, apic_id, version, flags;
        uint32_t signature, features, reserved[2];
    } ACPI_PACKED cpu; // 20 bytes
    struct {
        uint8_t type, id;
        char name[6];
    } ACPI_PACKED bus;
    struct {
        uint8_t type, id, version, flags;
        uint32_t phys;
    } ACPI_PACKED ioapic;
    struct {
        uint8_t type, kind;
        uint16_t flags;
        uint8_t bus, irq, ioapic, pin;
    } ACPI_PACKED interrupt;
} ACPI_PACKED;
_Static_assert(sizeof(union mp_entry) == 20, "MP entry");

#endif
