// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's own ACPI tables: finds the root pointer, reads through the mapping, and fills
// what is missing (microvm,acpi=off) from the MP table, QEMU's fw_cfg and the PC's fixed places.
#include "platform/acpi/parse.h"

#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"

#define BIOS_AREA      0xe0000ull
#define BIOS_AREA_END  0x100000ull
#define EBDA_SEGMENT   0x40eull // BIOS data area: segment of the extended one
#define BASE_MEMORY    0xa0000ull
#define LAPIC_DEFAULT  0xfee00000ull
#define IOAPIC_DEFAULT 0xfec00000ull
#define WINDOW         0x10000ull // half of what is mapped at once; no read is longer

static struct pf_acpi_info info;

const struct pf_acpi_info *pf_acpi(void)
{
    return &info;
}

// Tables lie in memory that the firmware listed, or in the BIOS area. Anything else could be a
// device whose registers change when read.
static bool is_memory(uint64_t phys, size_t bytes)
{
    if (phys + bytes <= BIOS_AREA_END) {
        return true;
    }
    const struct pf_boot_info *boot = pf_boot_info();
    for (uint32_t i = 0; i < boot->range_count; i++) {
        const struct pf_range *range = &boot->ranges[i];
        if (range->type != PF_RANGE_BAD && range->type != PF_RANGE_PMEM && phys >= range->base &&
            bytes <= range->length && phys - range->base <= range->length - bytes) {
            return true;
        }
    }
    return false;
}

// Tables lie close together, mostly outside what the firmware calls RAM and the direct map covers.
static const uint8_t *view(uint64_t phys, size_t bytes)
{
    static uint64_t window_phys = UINT64_MAX;
    static const uint8_t *window;
    if (window && phys >= window_phys && phys + bytes <= window_phys + 2 * WINDOW) {
        return window + (phys - window_phys);
    }
    const uint8_t *direct = pf_phys_to_virt(phys);
    if (pf_virt_to_phys(direct) == phys &&
        pf_virt_to_phys(direct + bytes - 1) == phys + bytes - 1) {
        return direct;
    }
    window_phys = phys & ~(WINDOW - 1);
    window = pf_map_device(window_phys, 2 * WINDOW, PF_PROT_READ, PF_CACHE_WB);
    return window ? window + (phys - window_phys) : NULL;
}

static bool read_physical(void *ctx, uint64_t phys, void *buf, size_t bytes)
{
    (void)ctx;
    if (bytes == 0 || bytes > WINDOW || phys + bytes < phys || !is_memory(phys, bytes)) {
        return false;
    }
    const uint8_t *from = view(phys, bytes);
    if (from == NULL) {
        return false;
    }
    __builtin_memcpy(buf, from, bytes);
    return true;
}

static uint64_t ebda(const struct acpi_reader *r)
{
    uint16_t segment = 0;
    if (!r->read(r->ctx, EBDA_SEGMENT, &segment, 2)) {
        return 0;
    }
    uint64_t at = (uint64_t)segment << 4;
    return at >= 0x80000 && at < BASE_MEMORY ? at : 0;
}

// QEMU's configuration device: select item 5 (number of CPUs), read little-endian bytes.
// Source: QEMU docs/specs/fw_cfg.
static uint32_t fw_cfg_cpus(void)
{
    char signature[4];
    pf_out16(0x510, 0);
    for (int i = 0; i < 4; i++) {
        signature[i] = (char)pf_in8(0x511);
    }
    if (signature[0] != 'Q' || signature[1] != 'E' || signature[2] != 'M' || signature[3] != 'U') {
        return 0;
    }
    pf_out16(0x510, 5);
    uint32_t low = pf_in8(0x511);
    return low | (uint32_t)pf_in8(0x511) << 8;
}

static void without_acpi(const struct acpi_reader *r)
{
    const char *source = "MP table";
    uint64_t e = ebda(r);
    int found = e ? mp_parse(r, e, e + 1024, &info) : -1;
    if (found) {
        found = mp_parse(r, BASE_MEMORY - 1024, BASE_MEMORY, &info);
    }
    if (found) {
        found = mp_parse(r, 0xf0000, BIOS_AREA_END, &info);
    }
    if (found) {
        source = "fw_cfg";
        uint32_t cpus = fw_cfg_cpus();
        if (cpus == 0) {
            source = "none, assuming one CPU";
            cpus = 1;
        }
        // Without a table the APIC ids are taken to be dense; a CPU that does not answer is left
        // out.
        for (uint32_t i = 0; i < cpus; i++) {
            acpi_add_cpu(&info, i);
        }
    }
    pf_printk("acpi: no tables; CPUs from %s: %u\n", source, info.cpu_count);
}

static void fill_gaps(void)
{
    if (info.lapic_phys == 0) {
        info.lapic_phys = LAPIC_DEFAULT;
    }
    if (info.ioapic_count == 0) {
        info.ioapic[0].phys = IOAPIC_DEFAULT;
        info.ioapic[0].gsi_base = 0;
        info.ioapic_count = 1;
    }
    if (info.cpu_count == 0) {
        uint32_t regs[4];
        pf_cpuid(1, 0, regs);
        acpi_add_cpu(&info, regs[1] >> 24);
    }
}

void pf_acpi_init(uint64_t rsdp_phys)
{
    struct acpi_reader r = {read_physical, NULL};
    unsigned damaged = 0;
    int error = -1;
    if (rsdp_phys) {
        error = acpi_parse(&r, rsdp_phys, &info, &damaged);
    }
    if (error) {
        uint64_t e = ebda(&r);
        uint64_t found = e ? acpi_scan_rsdp(&r, e, e + 1024) : 0;
        if (!found) {
            found = acpi_scan_rsdp(&r, BIOS_AREA, BIOS_AREA_END);
        }
        if (found) {
            error = acpi_parse(&r, found, &info, &damaged);
        }
        if (rsdp_phys && error) {
            pf_printk("acpi: root pointer at %lx is damaged\n", rsdp_phys);
        }
    }
    if (error) {
        without_acpi(&r);
    }
    if (damaged) {
        pf_printk("acpi: %u damaged table(s) ignored\n", damaged);
    }
    fill_gaps();
}
