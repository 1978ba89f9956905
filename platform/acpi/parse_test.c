// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ACPI and MP table parsers over tables made here: what is read, and what damage does.
// Links: platform/acpi/parse.c platform/acpi/mp.c
#include "platform/acpi/parse.h"
#include "platform/acpi/wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static uint8_t memory[0x10000];

static bool fake_read(void *ctx, uint64_t phys, void *buf, size_t bytes)
{
    (void)ctx;
    if (phys > sizeof(memory) || bytes > sizeof(memory) - phys) {
        return false;
    }
    memcpy(buf, memory + phys, bytes);
    return true;
}
static const struct acpi_reader reader = {fake_read, NULL};

static void fix_sum(uint8_t *at, size_t bytes, size_t where)
{
    uint8_t sum = 0;
    at[where] = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum = (uint8_t)(sum + at[i]);
    }
    at[where] = (uint8_t)-sum;
}

static void seal(uint32_t phys, const char *signature, uint32_t length)
{
    struct acpi_header *h = (void *)(memory + phys);
    memcpy(h->signature, signature, 4);
    h->length = length;
    fix_sum(memory + phys, length, offsetof(struct acpi_header, checksum));
}

enum { RSDP = 0x100, XSDT = 0x200, MADT = 0x400, MCFG = 0x600, FADT = 0x800, HPET = 0xa00 };
enum { DSDT = 0xc00 };

static uint32_t madt_length;

static void madt_add(const void *entry, uint8_t bytes)
{
    memcpy(memory + MADT + madt_length, entry, bytes);
    memory[MADT + madt_length + 1] = bytes;
    madt_length += bytes;
}

static void make_root(unsigned tables)
{
    struct acpi_rsdp *p = (void *)(memory + RSDP);
    memcpy(p->signature, "RSD PTR ", 8);
    p->revision = 2;
    p->length = sizeof(*p);
    p->xsdt = XSDT;
    fix_sum(memory + RSDP, 20, offsetof(struct acpi_rsdp, checksum));
    fix_sum(memory + RSDP, 36, offsetof(struct acpi_rsdp, extended_checksum));
    seal(XSDT, "XSDT", 36 + 8 * tables);
}

static void root_entry(unsigned i, uint64_t phys)
{
    memcpy(memory + XSDT + 36 + 8 * i, &phys, 8);
}

// A machine like q35 with three CPUs, one of them disabled and one with a large id.
static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    struct acpi_madt *madt = (void *)(memory + MADT);
    madt->lapic = 0xfee00000;
    madt_length = sizeof(*madt);
    union acpi_madt_entry e = {.lapic = {ACPI_MADT_LAPIC, 0, 0, 0, 1}};
    madt_add(&e, 8);
    e.lapic.apic_id = 1;
    e.lapic.flags = 0;
    madt_add(&e, 8);
    union acpi_madt_entry x = {.x2apic = {ACPI_MADT_X2APIC, 0, 0, 300, 1, 0}};
    madt_add(&x, 16);
    union acpi_madt_entry io = {.ioapic = {ACPI_MADT_IOAPIC, 0, 0, 0, 0xfec00000, 0}};
    madt_add(&io, 12);
    union acpi_madt_entry o = {.override = {ACPI_MADT_OVERRIDE, 0, 0, 0, 2, 0}};
    madt_add(&o, 10);
    union acpi_madt_entry sci = {.override = {ACPI_MADT_OVERRIDE, 0, 0, 9, 9, 0x0d}};
    madt_add(&sci, 10);
    seal(MADT, "APIC", madt_length);

    struct acpi_mcfg_entry mcfg = {0xb0000000, 0, 0, 255, 0};
    memcpy(memory + MCFG + ACPI_MCFG_FIRST, &mcfg, sizeof(mcfg));
    seal(MCFG, "MCFG", ACPI_MCFG_FIRST + sizeof(mcfg));

    struct acpi_fadt *f = (void *)(memory + FADT);
    f->dsdt = DSDT;
    f->sci_irq = 9;
    f->smi_command = 0xb2;
    f->acpi_enable = 2;
    f->pm1a_event = 0x600;
    f->pm1a_control = 0x604;
    f->pm_timer = 0x608;
    f->pm1_event_bytes = 4;
    f->pm_timer_bytes = 4;
    f->flags = ACPI_FADT_RESET_REG;
    f->reset_reg = (struct acpi_gas){1, 8, 0, 0, 0xcf9};
    f->reset_value = 0x0f;
    seal(FADT, "FACP", sizeof(*f));

    struct acpi_hpet *h = (void *)(memory + HPET);
    h->base.address = 0xfed00000;
    seal(HPET, "HPET", 56);

    static const uint8_t s5[] = {'_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a, 0x07, 0, 0, 0};
    memcpy(memory + DSDT + 60, s5, sizeof(s5));
    seal(DSDT, "DSDT", 90);

    root_entry(0, MADT);
    root_entry(1, MCFG);
    root_entry(2, FADT);
    root_entry(3, HPET);
    make_root(4);
    return 0;
}

static struct pf_acpi_info info;
static unsigned damaged;

static void a_whole_machine_is_read(void **state)
{
    (void)state;
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(damaged, 0);
    assert_true(info.present);
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.apic_id[0], 0);
    assert_int_equal(info.apic_id[1], 300);
    assert_int_equal(info.lapic_phys, 0xfee00000);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapic[0].phys, 0xfec00000);
    assert_int_equal(info.override_count, 2);
    assert_int_equal(info.isa_override[0].gsi, 2);
    assert_int_equal(info.isa_override[1].flags, 0x0d);
    assert_int_equal(info.ecam_phys, 0xb0000000);
    assert_int_equal(info.ecam_bus_end, 255);
    assert_int_equal(info.hpet_phys, 0xfed00000);
    assert_int_equal(info.pm_timer_port, 0x608);
    assert_false(info.pm_timer_32bit);
    assert_int_equal(info.sci_irq, 9);
    assert_int_equal(info.pm1a_event_port, 0x600);
    assert_int_equal(info.pm1a_control_port, 0x604);
    assert_int_equal(info.reset_kind, 1);
    assert_int_equal(info.reset_address, 0xcf9);
    assert_int_equal(info.reset_value, 0x0f);
    assert_int_equal(info.slp_typ_s5, 7);
    assert_int_equal(info.smi_command_port, 0xb2);
    assert_int_equal(info.table_count, 4);
    assert_string_equal(info.table_signature[2], "FACP");
}

static void the_old_root_table_works_too(void **state)
{
    (void)state;
    struct acpi_rsdp *p = (void *)(memory + RSDP);
    uint32_t madt = MADT;
    memcpy(memory + 0x300 + 36, &madt, 4);
    seal(0x300, "RSDT", 40);
    p->revision = 0;
    p->rsdt = 0x300;
    fix_sum(memory + RSDP, 20, offsetof(struct acpi_rsdp, checksum));
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.ecam_phys, 0);
}

static void the_machine_without_legacy_registers_is_recognised(void **state)
{
    (void)state;
    struct acpi_fadt *f = (void *)(memory + FADT);
    f->flags = ACPI_FADT_HW_REDUCED | ACPI_FADT_RESET_REG;
    f->reset_reg = (struct acpi_gas){0, 8, 0, 0, 0xfea00201};
    f->sleep_control = (struct acpi_gas){0, 8, 0, 0, 0xfea00200};
    seal(FADT, "FACP", sizeof(*f));
    memset(memory + DSDT + 36, 0, 54);
    memcpy(memory + DSDT + 70, "ACPI0013", 8);
    seal(DSDT, "DSDT", 90);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_true(info.hardware_reduced);
    assert_int_equal(info.pm1a_control_port, 0);
    assert_int_equal(info.pm_timer_port, 0);
    assert_int_equal(info.reset_kind, 2);
    assert_int_equal(info.sleep_control_kind, 2);
    assert_int_equal(info.slp_typ_s5, 5);
    assert_int_equal(info.ged_phys, 0xfea00000);
    assert_int_equal(info.ged_gsi, 9);
    assert_int_equal(info.ecam_phys, 0xb0000000); // MCFG wins
    seal(MCFG, "XXXX", 60);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.ecam_phys, 0);
    memcpy(memory + DSDT + 80, "PNP0A08", 7);
    seal(DSDT, "DSDT", 90);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.ecam_phys, 0xe0000000);
}

static void newer_register_fields_count_where_the_old_are_empty(void **state)
{
    (void)state;
    struct acpi_fadt *f = (void *)(memory + FADT);
    f->pm1a_event = 0;
    f->x_pm1a_event = (struct acpi_gas){1, 32, 0, 0, 0x700};
    f->pm_timer = 0;
    f->x_pm_timer = (struct acpi_gas){0, 32, 0, 0, 0x708}; // in memory: not supported
    seal(FADT, "FACP", sizeof(*f));
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.pm1a_event_port, 0x700);
    assert_int_equal(info.pm1a_control_port, 0x604);
    assert_int_equal(info.pm_timer_port, 0);
}

static void a_damaged_table_is_left_out_and_counted(void **state)
{
    (void)state;
    memory[MCFG + 50] ^= 1;
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(damaged, 1);
    assert_int_equal(info.ecam_phys, 0);
    assert_int_equal(info.cpu_count, 2);
}

static void a_damaged_root_is_refused(void **state)
{
    (void)state;
    memory[RSDP + 3] ^= 1;
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), -EINVAL);
    assert_int_equal(acpi_parse(&reader, 0, &info, &damaged), -EINVAL);
    assert_int_equal(acpi_parse(&reader, UINT64_MAX - 3, &info, &damaged), -EINVAL);
    assert_false(info.present);
}

static void table_lengths_beyond_memory_or_reason_are_refused(void **state)
{
    (void)state;
    struct acpi_header *h = (void *)(memory + MADT);
    const uint32_t lengths[] = {0, 35, 0x20000, ACPI_MAX_TABLE + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        h->length = lengths[i];
        assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
        assert_int_equal(damaged, 1);
        assert_int_equal(info.cpu_count, 0);
    }
}

static void entry_lengths_of_zero_or_past_the_end_stop_the_walk(void **state)
{
    (void)state;
    const uint8_t lengths[] = {0, 1, 255};
    for (size_t i = 0; i < sizeof(lengths); i++) {
        memory[MADT + sizeof(struct acpi_madt) + 8 + 1] = lengths[i]; // second entry
        seal(MADT, "APIC", madt_length);
        assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
        assert_int_equal(info.cpu_count, 1);
    }
}

static void an_entry_that_the_table_cuts_off_does_not_count(void **state)
{
    (void)state;
    union acpi_madt_entry e = {.lapic = {ACPI_MADT_LAPIC, 0, 0, 7, 1}};
    madt_add(&e, 8);
    seal(MADT, "APIC", madt_length);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.cpu_count, 3);
    seal(MADT, "APIC", madt_length - 1);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.cpu_count, 2);
}

static void the_sleep_package_may_have_a_long_length(void **state)
{
    (void)state;
    static const uint8_t s5[] = {'_', 'S', '5', '_', 0x12, 0x46, 0x00, 0x04, 0x0a, 0x03, 0, 0};
    memcpy(memory + DSDT + 60, s5, sizeof(s5));
    seal(DSDT, "DSDT", 90);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.slp_typ_s5, 3);
}

static void more_cpus_than_fit_are_cut_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        union acpi_madt_entry e = {.lapic = {ACPI_MADT_LAPIC, 0, 0, (uint8_t)i, 1}};
        madt_add(&e, 8);
    }
    seal(MADT, "APIC", madt_length);
    for (unsigned i = 0; i < 4; i++) {
        root_entry(i, MADT);
    }
    make_root(4);
    assert_int_equal(acpi_parse(&reader, RSDP, &info, &damaged), 0);
    assert_int_equal(info.cpu_count, 64);
}

static void the_root_pointer_is_found_by_scanning(void **state)
{
    (void)state;
    assert_int_equal(acpi_scan_rsdp(&reader, 0, sizeof(memory)), RSDP);
    assert_int_equal(acpi_scan_rsdp(&reader, 1, sizeof(memory)), RSDP);
    assert_int_equal(acpi_scan_rsdp(&reader, RSDP + 1, sizeof(memory)), 0);
    assert_int_equal(acpi_scan_rsdp(&reader, 0, RSDP + 19), 0);
}

static void make_mp(void)
{
    static const struct mp_floating f = {"_MP_", 0x5000, 1, 4, 0, {0}};
    memcpy(memory + 0x4010, &f, sizeof(f));
    fix_sum(memory + 0x4010, sizeof(f), offsetof(struct mp_floating, checksum));
    struct mp_table *t = (void *)(memory + 0x5000);
    *t = (struct mp_table){.lapic = 0xfee00000, .entry_count = 6};
    memcpy(t->signature, "PCMP", 4);
    uint8_t *at = memory + 0x5000 + sizeof(*t);
    for (uint8_t i = 0; i < 2; i++, at += 20) {
        union mp_entry e = {.cpu = {MP_CPU, i, 0x14, 1, 0, 0, {0}}};
        memcpy(at, &e, 20);
    }
    union mp_entry bus = {.bus = {MP_BUS, 3, "ISA   "}};
    union mp_entry io = {.ioapic = {MP_IOAPIC, 0, 0x11, 1, 0xfec00000}};
    union mp_entry irq0 = {.interrupt = {MP_IO_INTERRUPT, 0, 0, 3, 0, 0, 2}};
    union mp_entry irq4 = {.interrupt = {MP_IO_INTERRUPT, 0, 0, 3, 4, 0, 4}};
    const union mp_entry *entries[] = {&bus, &io, &irq0, &irq4};
    for (size_t i = 0; i < 4; i++, at += 8) {
        memcpy(at, entries[i], 8);
    }
    t->length = (uint16_t)(at - (memory + 0x5000));
    fix_sum(memory + 0x5000, t->length, offsetof(struct mp_table, checksum));
}

static void an_mp_table_gives_cpus_and_wiring(void **state)
{
    (void)state;
    make_mp();
    info = (struct pf_acpi_info){0};
    assert_int_equal(mp_parse(&reader, 0x4000, 0x4400, &info), 0);
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.apic_id[1], 1);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.override_count, 1);
    assert_int_equal(info.isa_override[0].isa_irq, 0);
    assert_int_equal(info.isa_override[0].gsi, 2);
    assert_int_equal(mp_parse(&reader, 0x4020, 0x4400, &info), -ENOENT);
    memory[0x5000 + 50] ^= 1;
    assert_int_equal(mp_parse(&reader, 0x4000, 0x4400, &info), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_whole_machine_is_read, setup),
        cmocka_unit_test_setup(the_old_root_table_works_too, setup),
        cmocka_unit_test_setup(the_machine_without_legacy_registers_is_recognised, setup),
        cmocka_unit_test_setup(newer_register_fields_count_where_the_old_are_empty, setup),
        cmocka_unit_test_setup(a_damaged_table_is_left_out_and_counted, setup),
        cmocka_unit_test_setup(a_damaged_root_is_refused, setup),
        cmocka_unit_test_setup(table_lengths_beyond_memory_or_reason_are_refused, setup),
        cmocka_unit_test_setup(entry_lengths_of_zero_or_past_the_end_stop_the_walk, setup),
        cmocka_unit_test_setup(an_entry_that_the_table_cuts_off_does_not_count, setup),
        cmocka_unit_test_setup(the_sleep_package_may_have_a_long_length, setup),
        cmocka_unit_test_setup(more_cpus_than_fit_are_cut_off, setup),
        cmocka_unit_test_setup(the_root_pointer_is_found_by_scanning, setup),
        cmocka_unit_test_setup(an_mp_table_gives_cpus_and_wiring, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
