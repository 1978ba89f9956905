// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// RSDP, RSDT/XSDT, MADT, MCFG, FADT, HPET. Lengths in tables are outside data: each is checked
// against its table before use. Source: ACPI 6.4, 5.2.
#include "platform/acpi/parse.h"

#include "platform/acpi/wire.h"

#include <errno.h>

static bool read_at(const struct acpi_reader *r, uint64_t phys, void *buf, size_t bytes)
{
    return phys != 0 && phys + bytes > phys && r->read(r->ctx, phys, buf, bytes);
}

static bool same(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

bool acpi_sum_is_zero(const struct acpi_reader *r, uint64_t phys, size_t bytes)
{
    uint64_t chunk[64];
    uint8_t sum = 0;
    while (bytes) {
        size_t n = bytes < sizeof(chunk) ? bytes : sizeof(chunk);
        if (!read_at(r, phys, chunk, n)) {
            return false;
        }
        // Eight at a time, in two sets of four 16-bit lanes: 64 words * 255 fit in a lane.
        const uint64_t lanes = 0x00ff00ff00ff00ffull;
        uint64_t even = 0, odd = 0;
        size_t words = n / 8;
        for (size_t i = 0; i < words; i++) {
            even += chunk[i] & lanes;
            odd += chunk[i] >> 8 & lanes;
        }
        for (unsigned shift = 0; shift < 64; shift += 16) {
            sum = (uint8_t)(sum + (even >> shift) + (odd >> shift));
        }
        for (size_t i = words * 8; i < n; i++) {
            sum = (uint8_t)(sum + ((const uint8_t *)chunk)[i]);
        }
        phys += n;
        bytes -= n;
    }
    return sum == 0;
}

void acpi_add_cpu(struct pf_acpi_info *out, uint32_t apic_id)
{
    if (out->cpu_count < sizeof(out->apic_id) / sizeof(out->apic_id[0])) {
        out->apic_id[out->cpu_count++] = apic_id;
    }
}

uint64_t acpi_scan_rsdp(const struct acpi_reader *r, uint64_t from, uint64_t to)
{
    for (uint64_t at = (from + 15) & ~15ull; at + ACPI_RSDP_V1_BYTES <= to; at += 16) {
        char signature[8];
        if (read_at(r, at, signature, 8) && same(signature, "RSD PTR ", 8) &&
            acpi_sum_is_zero(r, at, ACPI_RSDP_V1_BYTES)) {
            return at;
        }
    }
    return 0;
}

// Reads a table's header and checks length and checksum.
static bool table_header(const struct acpi_reader *r, uint64_t phys, struct acpi_header *h)
{
    return read_at(r, phys, h, sizeof(*h)) && h->length >= sizeof(*h) &&
           h->length <= ACPI_MAX_TABLE && acpi_sum_is_zero(r, phys, h->length);
}

static void parse_madt(const struct acpi_reader *r, uint64_t phys, uint32_t length,
                       struct pf_acpi_info *out)
{
    struct acpi_madt madt;
    if (length < sizeof(madt) || !read_at(r, phys, &madt, sizeof(madt))) {
        return;
    }
    out->lapic_phys = madt.lapic;
    for (uint32_t at = sizeof(madt); at + 2 <= length;) {
        union acpi_madt_entry e = {0};
        uint8_t head[2];
        if (!read_at(r, phys + at, head, 2) || head[1] < 2 || head[1] > length - at) {
            return; // nothing after a broken entry can be located
        }
        size_t take = head[1] < sizeof(e) ? head[1] : sizeof(e);
        if (!read_at(r, phys + at, &e, take)) {
            return;
        }
        if (e.type == ACPI_MADT_LAPIC && head[1] >= sizeof(e.lapic)) {
            if (e.lapic.flags & 1) {
                acpi_add_cpu(out, e.lapic.apic_id);
            }
        } else if (e.type == ACPI_MADT_X2APIC && head[1] >= sizeof(e.x2apic)) {
            if (e.x2apic.flags & 1) {
                acpi_add_cpu(out, e.x2apic.apic_id);
            }
        } else if (e.type == ACPI_MADT_IOAPIC && head[1] >= sizeof(e.ioapic)) {
            if (out->ioapic_count < 4) {
                out->ioapic[out->ioapic_count].phys = e.ioapic.phys;
                out->ioapic[out->ioapic_count].gsi_base = e.ioapic.gsi_base;
                out->ioapic_count++;
            }
        } else if (e.type == ACPI_MADT_OVERRIDE && head[1] >= sizeof(e.override)) {
            if (out->override_count < 16 && e.override.bus == 0) {
                out->isa_override[out->override_count].isa_irq = e.override.irq;
                out->isa_override[out->override_count].gsi = e.override.gsi;
                out->isa_override[out->override_count].flags = e.override.flags;
                out->override_count++;
            }
        } else if (e.type == ACPI_MADT_LAPIC_64 && head[1] >= sizeof(e.lapic64)) {
            out->lapic_phys = e.lapic64.phys;
        }
        at += head[1];
    }
}

static void parse_mcfg(const struct acpi_reader *r, uint64_t phys, uint32_t length,
                       struct pf_acpi_info *out)
{
    struct acpi_mcfg_entry e;
    for (uint32_t at = ACPI_MCFG_FIRST; at + sizeof(e) <= length; at += (uint32_t)sizeof(e)) {
        if (read_at(r, phys + at, &e, sizeof(e)) && e.segment == 0 && e.bus_end >= e.bus_start &&
            e.base) {
            out->ecam_phys = e.base;
            out->ecam_bus_start = e.bus_start;
            out->ecam_bus_end = e.bus_end;
            return;
        }
    }
}

static uint8_t gas_kind(const struct acpi_gas *g)
{
    if (g->address == 0) {
        return ACPI_IO_NONE;
    }
    if (g->space == 1 && g->address <= 0xffff) {
        return ACPI_IO_PORT;
    }
    return g->space == 0 ? ACPI_IO_MEMORY : ACPI_IO_NONE;
}

// Searches a definition block for `name` as bytes; false if it is not there. Looks at the byte
// where the name's last one would be, and skips by how far that can be from its end (Horspool).
static bool find_bytes(const struct acpi_reader *r, uint64_t phys, uint32_t length,
                       const char *name, uint32_t n, uint32_t *where)
{
    char chunk[512];
    for (uint32_t at = 0; at + n <= length;) {
        uint32_t take = length - at < sizeof(chunk) ? length - at : (uint32_t)sizeof(chunk);
        if (!read_at(r, phys + at, chunk, take)) {
            return false;
        }
        for (uint32_t i = n - 1; i < take;) {
            uint32_t skip = n;
            for (uint32_t k = 0; k + 1 < n; k++) {
                if (chunk[i] == name[k]) {
                    skip = n - 1 - k;
                }
            }
            if (chunk[i] == name[n - 1] && same(chunk + i + 1 - n, name, n)) {
                *where = at + i + 1 - n;
                return true;
            }
            i += skip;
        }
        at += take - n + 1;
    }
    return false;
}

// \_S5 is a package whose first element is SLP_TYPa, as a byte constant or the Zero/One opcode.
// AML is not interpreted: NameString, PackageOp, PkgLength, count, element (ACPI 6.4, 20.2.5.4).
static void parse_dsdt(const struct acpi_reader *r, uint64_t phys, struct pf_acpi_info *out)
{
    struct acpi_header h;
    uint32_t at;
    uint8_t code[12] = {0};
    if (!table_header(r, phys, &h)) {
        return;
    }
    if (find_bytes(r, phys, h.length, "_S5_", 4, &at) && h.length - at >= 4 + sizeof(code) &&
        read_at(r, phys + at + 4, code, sizeof(code)) && code[0] == 0x12) {
        unsigned element = 1 + 1 + (code[1] >> 6) + 1;
        if (code[element] == 0x0a) {
            out->slp_typ_s5 = code[element + 1] & 7;
        } else if (code[element] <= 1) {
            out->slp_typ_s5 = code[element];
        }
    }
    // QEMU's microvm: the generic event device (HID ACPI0013) sits below the sleep registers.
    if (out->hardware_reduced && out->sleep_control_kind == ACPI_IO_MEMORY &&
        out->sleep_control_address == ACPI_QEMU_GED_PHYS + ACPI_QEMU_GED_SLEEP &&
        find_bytes(r, phys, h.length, "ACPI0013", 8, &at)) {
        out->ged_phys = ACPI_QEMU_GED_PHYS;
        out->ged_gsi = ACPI_QEMU_GED_GSI;
        // Its PCI Express host (pcie=on) is described in AML only, there is no MCFG.
        if (out->ecam_phys == 0 && find_bytes(r, phys, h.length, "PNP0A08", 7, &at)) {
            out->ecam_phys = ACPI_QEMU_MICROVM_ECAM;
            out->ecam_bus_start = 0;
            out->ecam_bus_end = 255;
        }
    }
}

// A register block's port: the old 32-bit field, else the newer address structure.
static uint32_t port_of(uint32_t old, const struct acpi_gas *newer)
{
    uint64_t port = old ? old : newer->space == 1 ? newer->address : 0;
    return port <= 0xffff ? (uint32_t)port : 0;
}

static void parse_fadt(const struct acpi_reader *r, uint64_t phys, uint32_t length,
                       struct pf_acpi_info *out)
{
    struct acpi_fadt f = {0}; // older, shorter tables leave the rest zero
    size_t take = length < sizeof(f) ? length : sizeof(f);
    if (length < ACPI_FADT_V1_BYTES || !read_at(r, phys, &f, take)) {
        return;
    }
    out->hardware_reduced = (f.flags & ACPI_FADT_HW_REDUCED) != 0;
    out->sci_irq = f.sci_irq;
    if (!out->hardware_reduced) {
        out->pm1a_event_port = port_of(f.pm1a_event, &f.x_pm1a_event);
        out->pm1a_control_port = port_of(f.pm1a_control, &f.x_pm1a_control);
        out->pm1_event_bytes = f.pm1_event_bytes;
        out->pm_timer_port = f.pm_timer_bytes == 4 ? port_of(f.pm_timer, &f.x_pm_timer) : 0;
        out->pm_timer_32bit = (f.flags & ACPI_FADT_TIMER_32BIT) != 0;
        out->smi_command_port = f.smi_command <= 0xffff ? f.smi_command : 0;
        out->acpi_enable = f.acpi_enable;
    }
    if (f.flags & ACPI_FADT_RESET_REG) {
        out->reset_kind = gas_kind(&f.reset_reg);
        out->reset_address = f.reset_reg.address;
        out->reset_value = f.reset_value;
    }
    out->sleep_control_kind = gas_kind(&f.sleep_control);
    out->sleep_control_address = f.sleep_control.address;
    // SLP_TYP when the DSDT does not say: 5 is the generic event device's (QEMU), 0 the PC's.
    out->slp_typ_s5 = out->hardware_reduced ? 5 : 0;
    uint64_t dsdt = f.x_dsdt ? f.x_dsdt : f.dsdt;
    if (dsdt) {
        parse_dsdt(r, dsdt, out);
    }
}

static void parse_hpet(const struct acpi_reader *r, uint64_t phys, uint32_t length,
                       struct pf_acpi_info *out)
{
    struct acpi_hpet h;
    if (length >= sizeof(h) && read_at(r, phys, &h, sizeof(h)) && h.base.space == 0) {
        out->hpet_phys = h.base.address;
    }
}

static void parse_table(const struct acpi_reader *r, uint64_t phys, struct pf_acpi_info *out,
                        unsigned *damaged)
{
    struct acpi_header h;
    if (!table_header(r, phys, &h)) {
        ++*damaged;
        return;
    }
    if (out->table_count < 32) {
        for (int i = 0; i < 4; i++) {
            char c = h.signature[i];
            out->table_signature[out->table_count][i] = (c > ' ' && c < 0x7f) ? c : '?';
        }
        out->table_count++;
    }
    if (same(h.signature, "APIC", 4)) {
        parse_madt(r, phys, h.length, out);
    } else if (same(h.signature, "MCFG", 4)) {
        parse_mcfg(r, phys, h.length, out);
    } else if (same(h.signature, "FACP", 4)) {
        parse_fadt(r, phys, h.length, out);
    } else if (same(h.signature, "HPET", 4)) {
        parse_hpet(r, phys, h.length, out);
    }
}

int acpi_parse(const struct acpi_reader *r, uint64_t rsdp, struct pf_acpi_info *out,
               unsigned *damaged)
{
    struct acpi_rsdp p = {0};
    struct acpi_header root;
    *out = (struct pf_acpi_info){0};
    *damaged = 0;
    if (!read_at(r, rsdp, &p, ACPI_RSDP_V1_BYTES) || !same(p.signature, "RSD PTR ", 8) ||
        !acpi_sum_is_zero(r, rsdp, ACPI_RSDP_V1_BYTES)) {
        return -EINVAL;
    }
    uint64_t table = p.rsdt;
    uint32_t width = 4;
    if (p.revision >= 2 && read_at(r, rsdp, &p, sizeof(p)) && p.length >= sizeof(p) &&
        p.length <= 4096 && p.xsdt && acpi_sum_is_zero(r, rsdp, p.length) &&
        table_header(r, p.xsdt, &root) && same(root.signature, "XSDT", 4)) {
        table = p.xsdt;
        width = 8;
    } else if (!table_header(r, table, &root) || !same(root.signature, "RSDT", 4)) {
        return -EINVAL;
    }
    uint32_t count = (root.length - (uint32_t)sizeof(root)) / width;
    for (uint32_t i = 0; i < count && i < 64; i++) {
        uint64_t entry = 0; // little-endian, so four bytes read into it are right too
        if (read_at(r, table + sizeof(root) + (uint64_t)i * width, &entry, width) && entry) {
            parse_table(r, entry, out, damaged);
        }
    }
    out->present = true;
    return 0;
}
