// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PCI: enumeration over ECAM (MCFG) or ports 0xcf8/0xcfc, BARs, capabilities, MSI-X.
// Source: PCI Local Bus 3.0, PCI Express Base.
#ifndef PLATFORM_PCI_H
#define PLATFORM_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_pci_device {
    uint16_t segment;
    uint8_t bus, device, function;
    uint16_t vendor, product, subsystem_vendor, subsystem;
    uint8_t class_code, subclass, interface, revision;
    uint8_t header_type;
    bool sized; // bar[] is filled; false for idle chipset functions, see pf_pci_size
    struct {
        uint64_t base; // physical, 0 = none
        uint64_t bytes;
        uint8_t is_io, is_64, prefetch;
    } bar[6];
    volatile uint8_t *bar_map[6]; // mapped on first pf_pci_map_bar
    uint16_t msix_cap;            // configuration offset, 0 = none
    uint16_t msix_count;
    volatile uint32_t *msix_table;
};

// Devices found at boot, in bus order. Stable. A device belongs to the driver that took it: the
// calls below are for one CPU at a time each; pf_pci_enable, _map_bar and _msix_set not from
// interrupts.
size_t pf_pci_count(void);
struct pf_pci_device *pf_pci_at(size_t i);
struct pf_pci_device *pf_pci_find(uint16_t vendor, uint16_t product, size_t nth);

// Fills bar[] of a device that boot has left out because nothing drives it.
void pf_pci_size(struct pf_pci_device *d);

uint8_t pf_pci_read8(const struct pf_pci_device *d, uint16_t offset);
uint16_t pf_pci_read16(const struct pf_pci_device *d, uint16_t offset);
uint32_t pf_pci_read32(const struct pf_pci_device *d, uint16_t offset);
void pf_pci_write8(const struct pf_pci_device *d, uint16_t offset, uint8_t v);
void pf_pci_write16(const struct pf_pci_device *d, uint16_t offset, uint16_t v);
void pf_pci_write32(const struct pf_pci_device *d, uint16_t offset, uint32_t v);

// Offset of the next capability `id` after `from` (0 = first), or 0. Bounded walk.
uint16_t pf_pci_capability(const struct pf_pci_device *d, uint8_t id, uint16_t from);
// Turns on memory decoding and bus mastering.
void pf_pci_enable(struct pf_pci_device *d);
// Maps a memory BAR uncached; NULL if it has none.
volatile void *pf_pci_map_bar(struct pf_pci_device *d, unsigned bar);
// MSI-X entry `index` raises `vector` on `cpu_index`; unmasks it and enables MSI-X. 0, -ENODEV,
// -EINVAL.
int pf_pci_msix_set(struct pf_pci_device *d, unsigned index, int vector, uint32_t cpu_index);

#endif
