// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Addresses for the memory BARs that the firmware left out (qboot, microvm), first fit, and the
// windows of bridges that it left closed. Source: PCI Local Bus 3.0, 6.2.5.1; PCI-to-PCI Bridge
// 1.2, 3.2.5.
#include "platform/pci/config.h"

#define BRIDGE_ALIGN (1ull << 20)

// The next range in use that [base, base+bytes) runs into, or false.
static bool collides(const struct pci_tree *t, uint64_t base, uint64_t bytes, uint64_t *used_end)
{
    for (size_t i = 0; i < t->count; i++) {
        for (unsigned b = 0; b < 6; b++) {
            uint64_t other = t->device[i].bar[b].base, size = t->device[i].bar[b].bytes;
            if (size && other && !t->device[i].bar[b].is_io && base < other + size &&
                other < base + bytes) {
                *used_end = other + size;
                return true;
            }
        }
    }
    for (size_t i = 0; i < t->bridge_count; i++) {
        const struct pci_bridge *bridge = &t->bridge[i];
        if (bridge->memory_end > bridge->memory_base && base < bridge->memory_end &&
            bridge->memory_base < base + bytes) {
            *used_end = bridge->memory_end;
            return true;
        }
    }
    return false;
}

// First free place of `bytes` aligned to `align` (a power of two) in the window; 0 if none.
static uint64_t place(const struct pci_tree *t, const struct pci_window *w, uint64_t bytes,
                      uint64_t align)
{
    uint64_t at = w->base;
    for (unsigned i = 0; i < PCI_MAX_DEVICES * 6 + PCI_MAX_BUSES + 1; i++) {
        at = (at + align - 1) & ~(align - 1);
        if (at < w->base || at > w->end || w->end - at < bytes) {
            return 0;
        }
        if (!collides(t, at, bytes, &at)) {
            return at;
        }
    }
    return 0;
}

static void write_bar(const struct pci_tree *t, struct pf_pci_device *d, unsigned bar, uint64_t at)
{
    const struct pci_config *c = &t->config;
    uint16_t offset = (uint16_t)(PCI_BAR0 + 4 * bar);
    c->write(c->ctx, pci_bdf(d), offset, (uint32_t)at);
    if (d->bar[bar].is_64) {
        c->write(c->ctx, pci_bdf(d), (uint16_t)(offset + 4), (uint32_t)(at >> 32));
    }
    d->bar[bar].base = at;
}

static void assign_device(struct pci_tree *t, struct pf_pci_device *d, const struct pci_windows *w,
                          bool high_allowed)
{
    for (unsigned b = 0; b < 6; b++) {
        uint64_t bytes = d->bar[b].bytes;
        if (bytes == 0 || d->bar[b].is_io || d->bar[b].base) {
            continue;
        }
        // A page at least, so that no two devices share one.
        uint64_t align = bytes < 4096 ? 4096 : bytes;
        bool high_first = d->bar[b].is_64 && bytes > 64u << 20;
        uint64_t at = 0;
        if (high_first && high_allowed && w->high.end) {
            at = place(t, &w->high, align, align);
        }
        if (at == 0) {
            at = place(t, &w->low, align, align);
        }
        if (at == 0 && d->bar[b].is_64 && high_allowed && w->high.end) {
            at = place(t, &w->high, align, align);
        }
        if (at) {
            write_bar(t, d, b, at);
        }
    }
}

// Bytes that the unassigned BARs behind a bridge may take.
static uint64_t demand(const struct pci_tree *t, const struct pci_bridge *bridge)
{
    uint64_t sum = 0, largest = 4096;
    for (size_t i = 0; i < t->count; i++) {
        const struct pf_pci_device *d = &t->device[i];
        if (d->bus != bridge->secondary) {
            continue;
        }
        for (unsigned b = 0; b < 6; b++) {
            uint64_t bytes = d->bar[b].bytes;
            if (bytes && !d->bar[b].is_io && !d->bar[b].base) {
                bytes = bytes < 4096 ? 4096 : bytes;
                sum += bytes;
                largest = bytes > largest ? bytes : largest;
            }
        }
    }
    if (sum == 0) {
        return 0;
    }
    // First fit in device order wastes less than one `largest` for each step up in size.
    sum += largest;
    return (sum + BRIDGE_ALIGN - 1) & ~(BRIDGE_ALIGN - 1);
}

// A bridge without a memory window gets one: it forwards one non-prefetchable window below 4 GB.
static void open_bridge(struct pci_tree *t, struct pci_bridge *bridge, const struct pci_windows *w)
{
    const struct pci_config *c = &t->config;
    uint64_t bytes = demand(t, bridge);
    uint64_t at = 0, largest = BRIDGE_ALIGN;
    while (largest < bytes && largest < 1u << 28) {
        largest <<= 1; // so that large BARs find their alignment inside
    }
    if (bytes == 0 && bridge->configured) {
        return; // what is behind it has its addresses
    }
    if (bytes) {
        at = place(t, &w->low, bytes, largest);
    }
    if (at == 0) {
        c->write(c->ctx, bridge->bdf, PCI_BRIDGE_MEMORY, 0x0000fff0); // base above limit: closed
        c->write(c->ctx, bridge->bdf, PCI_BRIDGE_PREFETCH, 0x0000fff0);
        return;
    }
    struct pci_windows inside = {{at, at + bytes}, {0, 0}};
    for (size_t i = 0; i < t->count; i++) {
        struct pf_pci_device *d = &t->device[i];
        if (d->bus == bridge->secondary) {
            assign_device(t, d, &inside, false);
        }
    }
    bridge->memory_base = at;
    bridge->memory_end = at + bytes;
    uint32_t limit = (uint32_t)(at + bytes - BRIDGE_ALIGN);
    c->write(c->ctx, bridge->bdf, PCI_BRIDGE_MEMORY, (limit & 0xfff00000) | (uint32_t)at >> 16);
    if (!bridge->configured) {
        c->write(c->ctx, bridge->bdf, PCI_BRIDGE_PREFETCH, 0x0000fff0);
    }
    uint32_t command = c->read(c->ctx, bridge->bdf, PCI_COMMAND) & 0xffff;
    c->write(c->ctx, bridge->bdf, PCI_COMMAND, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void read_window(struct pci_tree *t, struct pci_bridge *bridge)
{
    uint32_t v = t->config.read(t->config.ctx, bridge->bdf, PCI_BRIDGE_MEMORY);
    uint64_t base = (uint64_t)(v & 0xfff0) << 16, limit = v & 0xfff00000u;
    if (limit >= base && base) {
        bridge->memory_base = base;
        bridge->memory_end = limit + BRIDGE_ALIGN;
    }
}

static unsigned unassigned(const struct pci_tree *t)
{
    unsigned n = 0;
    for (size_t i = 0; i < t->count; i++) {
        for (unsigned b = 0; b < 6; b++) {
            const struct pf_pci_device *d = &t->device[i];
            n += d->bar[b].bytes && !d->bar[b].is_io && !d->bar[b].base;
        }
    }
    return n;
}

// Bridges behind bridges stay closed when the firmware has not opened them: the devices there
// are counted as unassigned.
void pci_assign(struct pci_tree *t, const struct pci_windows *w)
{
    if (unassigned(t) == 0) {
        return;
    }
    for (size_t i = 0; i < t->count; i++) { // to know all places that are taken
        pci_size_bars(&t->config, &t->device[i]);
    }
    for (size_t i = 0; i < t->bridge_count; i++) {
        if (t->bridge[i].configured) {
            read_window(t, &t->bridge[i]);
        }
    }
    for (size_t i = 0; i < t->bridge_count; i++) {
        struct pci_bridge *bridge = &t->bridge[i];
        if (bridge->memory_end == 0 && bridge->secondary &&
            bridge->bdf >> 8 == t->config.first_bus) {
            open_bridge(t, bridge, w);
        }
    }
    for (size_t i = 0; i < t->count; i++) {
        if (t->device[i].bus == t->config.first_bus) {
            assign_device(t, &t->device[i], w, true);
        }
    }
    t->unassigned = unassigned(t);
}
