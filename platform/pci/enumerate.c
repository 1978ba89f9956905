// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Walks the buses, reads headers, sizes BARs. Each configuration access is an exit to the
// hypervisor, so absent devices cost one read and nothing is read twice. Source: PCI Local Bus
// 3.0, 6.1, 6.2.5.1; PCI-to-PCI Bridge 1.2, 3.2.
#include "platform/pci/config.h"

uint32_t pci_read(const struct pci_config *c, uint16_t bdf, uint16_t offset, unsigned bytes)
{
    uint32_t word = c->read(c->ctx, bdf, offset & 0xffc);
    word >>= 8 * (offset & 3);
    return bytes == 4 ? word : word & ((1u << 8 * bytes) - 1);
}

void pci_write(const struct pci_config *c, uint16_t bdf, uint16_t offset, unsigned bytes,
               uint32_t value)
{
    if (bytes == 4) {
        c->write(c->ctx, bdf, offset & 0xffc, value);
        return;
    }
    // Read-modify-write would clear write-one-to-clear status bits next to a 16-bit command: write
    // zeros there instead.
    uint32_t mask = ((1u << 8 * bytes) - 1) << 8 * (offset & 3);
    uint32_t old = 0;
    if ((offset & 0xffc) != PCI_COMMAND) {
        old = c->read(c->ctx, bdf, offset & 0xffc);
    } else if (!(offset & 2)) {
        old = c->read(c->ctx, bdf, PCI_COMMAND) & 0xffff;
    }
    c->write(c->ctx, bdf, offset & 0xffc, (old & ~mask) | (value << 8 * (offset & 3) & mask));
}

uint16_t pci_find_capability(const struct pci_config *c, uint16_t bdf, uint8_t id, uint16_t from)
{
    uint16_t at;
    if (from == 0) {
        if (!(pci_read(c, bdf, PCI_COMMAND + 2, 2) & PCI_STATUS_CAPABILITIES)) {
            return 0;
        }
        at = (uint16_t)(pci_read(c, bdf, PCI_CAPABILITIES, 1) & 0xfc);
    } else {
        at = (uint16_t)(pci_read(c, bdf, (uint16_t)(from + 1), 1) & 0xfc);
    }
    // 48 capabilities of 4 bytes fill the space behind the header: more is a loop.
    for (int i = 0; i < 48 && at >= 0x40; i++) {
        uint32_t head = c->read(c->ctx, bdf, at);
        if ((head & 0xff) == id) {
            return at;
        }
        at = (uint16_t)((head >> 8) & 0xfc);
    }
    return 0;
}

void pci_size_bars(const struct pci_config *c, struct pf_pci_device *d)
{
    uint16_t bdf = pci_bdf(d);
    unsigned bars = d->header_type == 0 ? 6 : d->header_type == 1 ? 2 : 0;
    if (d->sized) {
        return;
    }
    d->sized = true;
    uint32_t command = c->read(c->ctx, bdf, PCI_COMMAND) & 0xffff;
    bool decoding = command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    if (decoding) { // the device must not answer at the all-ones address
        c->write(c->ctx, bdf, PCI_COMMAND, command & ~3u);
    }
    for (unsigned i = 0; i < bars; i++) {
        uint16_t at = (uint16_t)(PCI_BAR0 + 4 * i);
        uint32_t old = c->read(c->ctx, bdf, at);
        c->write(c->ctx, bdf, at, UINT32_MAX);
        uint32_t probe = c->read(c->ctx, bdf, at);
        c->write(c->ctx, bdf, at, old);
        if (probe == 0) {
            continue;
        }
        if (probe & 1) {
            uint32_t size = ~(probe & ~3u) + 1;
            d->bar[i].is_io = 1;
            d->bar[i].base = old & 0xfffc;
            d->bar[i].bytes = size & 0xffff;
            continue;
        }
        uint64_t mask = probe & ~0xfull, base = old & ~0xfull;
        bool wide = (probe & 6) == 4 && i + 1 < bars;
        if (wide) {
            uint16_t up = (uint16_t)(at + 4);
            uint32_t old_up = c->read(c->ctx, bdf, up);
            c->write(c->ctx, bdf, up, UINT32_MAX);
            mask |= (uint64_t)c->read(c->ctx, bdf, up) << 32;
            c->write(c->ctx, bdf, up, old_up);
            base |= (uint64_t)old_up << 32;
        } else {
            mask |= 0xffffffffull << 32;
        }
        d->bar[i].base = base;
        d->bar[i].bytes = ~mask + 1;
        d->bar[i].is_64 = wide;
        d->bar[i].prefetch = (probe >> 3) & 1;
        i += wide;
    }
    if (decoding) {
        c->write(c->ctx, bdf, PCI_COMMAND, command);
    }
}

// Storage, bridge and serial bus functions of the emulated chipset (Intel's, PIIX and ICH9).
static bool is_idle_chipset(const struct pci_config *c, const struct pf_pci_device *d)
{
    bool kind = d->class_code == 1 || d->class_code == 6 || d->class_code == 0x0c;
    return d->vendor == 0x8086 && kind && d->header_type == 0 &&
           (c->read(c->ctx, pci_bdf(d), PCI_COMMAND) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
}

static void read_msix(const struct pci_config *c, struct pf_pci_device *d)
{
    d->msix_cap = pci_find_capability(c, pci_bdf(d), PCI_CAP_MSIX, 0);
    if (d->msix_cap) {
        uint32_t control = c->read(c->ctx, pci_bdf(d), d->msix_cap) >> 16;
        d->msix_count = (uint16_t)((control & 0x7ff) + 1);
    }
}

static void add_function(struct pci_tree *t, uint8_t bus, uint8_t device, uint8_t function,
                         uint32_t id, uint8_t header)
{
    const struct pci_config *c = &t->config;
    uint16_t bdf = (uint16_t)(bus << 8 | device << 3 | function);
    if (t->count == PCI_MAX_DEVICES) {
        t->dropped++;
        return;
    }
    struct pf_pci_device *d = &t->device[t->count++];
    uint32_t class = c->read(c->ctx, bdf, PCI_CLASS);
    *d = (struct pf_pci_device){.bus = bus,
                                .device = device,
                                .function = function,
                                .vendor = (uint16_t)id,
                                .product = (uint16_t)(id >> 16),
                                .class_code = (uint8_t)(class >> 24),
                                .subclass = (uint8_t)(class >> 16),
                                .interface = (uint8_t)(class >> 8),
                                .revision = (uint8_t) class,
                                .header_type = header & 0x7f};
    if (d->header_type == 0) {
        uint32_t subsystem = c->read(c->ctx, bdf, PCI_SUBSYSTEM);
        d->subsystem_vendor = (uint16_t)subsystem;
        d->subsystem = (uint16_t)(subsystem >> 16);
        if (!is_idle_chipset(c, d)) {
            pci_size_bars(c, d);
        }
        read_msix(c, d);
    } else if (d->header_type == 1) {
        pci_size_bars(c, d);
        if (t->bridge_count < PCI_MAX_BUSES) {
            t->bridge[t->bridge_count++] = (struct pci_bridge){.bdf = bdf};
        }
    }
}

static void scan_bus(struct pci_tree *t, uint8_t bus)
{
    const struct pci_config *c = &t->config;
    for (uint8_t device = 0; device < 32; device++) {
        for (uint8_t function = 0; function < 8; function++) {
            uint16_t bdf = (uint16_t)(bus << 8 | device << 3 | function);
            uint32_t id = c->read(c->ctx, bdf, PCI_ID);
            if ((id & 0xffff) == 0xffff || (id & 0xffff) == 0) {
                if (function == 0) {
                    break;
                }
                continue;
            }
            uint8_t header = (uint8_t)pci_read(c, bdf, PCI_HEADER, 1);
            add_function(t, bus, device, function, id, header);
            if (function == 0 && !(header & 0x80)) {
                break;
            }
        }
    }
}

// Depth first: bridges found on `bus` get their subtree numbered before the next is looked at.
// Returns the highest bus number used. Terminates: each call takes a higher bus number than any
// before, or a number the firmware gave, once.
static uint8_t scan_tree(struct pci_tree *t, uint8_t bus, uint8_t next, unsigned depth,
                         uint32_t seen[8])
{
    const struct pci_config *c = &t->config;
    seen[bus / 32] |= 1u << bus % 32;
    size_t first = t->bridge_count;
    scan_bus(t, bus);
    size_t end = t->bridge_count;
    for (size_t i = first; i < end && depth < 8; i++) {
        struct pci_bridge *b = &t->bridge[i];
        uint32_t buses = c->read(c->ctx, b->bdf, PCI_BUSES);
        b->secondary = (uint8_t)(buses >> 8);
        b->subordinate = (uint8_t)(buses >> 16);
        b->configured =
            b->secondary > bus && b->subordinate >= b->secondary && b->secondary <= c->last_bus;
        if (!b->configured) {
            if (next >= c->last_bus) {
                b->secondary = 0;
                continue;
            }
            // Open to everything below while the subtree is numbered, then closed to what it used.
            b->secondary = (uint8_t)(next + 1);
            c->write(c->ctx, b->bdf, PCI_BUSES,
                     (buses & 0xff000000u) | (uint32_t)c->last_bus << 16 |
                         (uint32_t)b->secondary << 8 | bus);
        }
        if (seen[b->secondary / 32] & 1u << b->secondary % 32) {
            continue;
        }
        uint8_t used = scan_tree(t, b->secondary, b->secondary, depth + 1, seen);
        if (!b->configured) {
            b->subordinate = used;
            c->write(c->ctx, b->bdf, PCI_BUSES,
                     (buses & 0xff000000u) | (uint32_t)used << 16 | (uint32_t)b->secondary << 8 |
                         bus);
        } else if (b->subordinate > used) {
            used = b->subordinate;
        }
        next = used > next ? used : next;
    }
    return next;
}

void pci_enumerate(struct pci_tree *t)
{
    uint32_t seen[8] = {0};
    t->count = t->bridge_count = 0;
    t->dropped = t->unassigned = 0;
    scan_tree(t, t->config.first_bus, t->config.first_bus, 0, seen);
}
