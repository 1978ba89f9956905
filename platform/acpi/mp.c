// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The MP table: CPUs, I/O APICs and ISA wiring on machines without ACPI (microvm,acpi=off).
// Source: Intel MultiProcessor Specification 1.4, ch. 4.
#include "platform/acpi/parse.h"

#include "platform/acpi/wire.h"

#include <errno.h>

static bool tag_is(const char *at, const char *tag)
{
    return at[0] == tag[0] && at[1] == tag[1] && at[2] == tag[2] && at[3] == tag[3];
}

static bool find_floating(const struct acpi_reader *r, uint64_t from, uint64_t to,
                          struct mp_floating *f)
{
    for (uint64_t at = (from + 15) & ~15ull; at + sizeof(*f) <= to; at += 16) {
        if (r->read(r->ctx, at, f, sizeof(*f)) && tag_is(f->signature, "_MP_") && f->length == 1 &&
            f->table && acpi_sum_is_zero(r, at, sizeof(*f))) {
            return true;
        }
    }
    return false;
}

static void add_override(struct pf_acpi_info *out, const union mp_entry *e)
{
    // ISA wired to its own pin with the bus's own trigger needs no entry.
    if (e->interrupt.kind != 0 || out->override_count >= 16 || e->interrupt.irq > 15 ||
        (e->interrupt.irq == e->interrupt.pin && e->interrupt.flags == 0)) {
        return;
    }
    out->isa_override[out->override_count].isa_irq = e->interrupt.irq;
    out->isa_override[out->override_count].gsi = e->interrupt.pin;
    out->isa_override[out->override_count].flags = e->interrupt.flags;
    out->override_count++;
}

int mp_parse(const struct acpi_reader *r, uint64_t from, uint64_t to, struct pf_acpi_info *out)
{
    struct mp_floating f;
    struct mp_table t;
    if (!find_floating(r, from, to, &f) || !r->read(r->ctx, f.table, &t, sizeof(t)) ||
        !tag_is(t.signature, "PCMP") || t.length < sizeof(t) ||
        !acpi_sum_is_zero(r, f.table, t.length)) {
        return -ENOENT;
    }
    int isa_bus = -1;
    out->lapic_phys = t.lapic;
    uint32_t at = sizeof(t);
    for (unsigned i = 0; i < t.entry_count; i++) {
        union mp_entry e;
        uint8_t type;
        if (at >= t.length || !r->read(r->ctx, (uint64_t)f.table + at, &type, 1)) {
            break;
        }
        uint32_t bytes = type == MP_CPU ? 20 : 8;
        if (type > MP_LOCAL_INTERRUPT || bytes > t.length - at ||
            !r->read(r->ctx, (uint64_t)f.table + at, &e, bytes)) {
            break;
        }
        if (type == MP_CPU && (e.cpu.flags & 1)) {
            acpi_add_cpu(out, e.cpu.apic_id);
        } else if (type == MP_BUS && e.bus.name[0] == 'I' && e.bus.name[1] == 'S') {
            isa_bus = e.bus.id;
        } else if (type == MP_IOAPIC && (e.ioapic.flags & 1) && out->ioapic_count < 4) {
            // GSIs are numbered through the I/O APICs in order, 24 pins each (the PC's).
            out->ioapic[out->ioapic_count].phys = e.ioapic.phys;
            out->ioapic[out->ioapic_count].gsi_base = 24 * out->ioapic_count;
            out->ioapic_count++;
        } else if (type == MP_IO_INTERRUPT && e.interrupt.bus == isa_bus) {
            add_override(out, &e);
        }
        at += bytes;
    }
    return out->cpu_count ? 0 : -ENOENT;
}
