// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// MSI-X: table entries and enabling. Source: PCI Local Bus 3.0, 6.8.2.
#include "platform/pci.h"

#include "platform/irq.h"

#include <errno.h>

enum { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_ENABLE = 0x8000, MSIX_MASK_ALL = 0x4000 };
enum { ENTRY_ADDRESS = 0, ENTRY_ADDRESS_HIGH = 1, ENTRY_DATA = 2, ENTRY_CONTROL = 3 };

// The table pointer names a BAR and an offset in it; both come from the device.
static int map_table(struct pf_pci_device *d)
{
    uint32_t where = pf_pci_read32(d, (uint16_t)(d->msix_cap + MSIX_TABLE));
    unsigned bar = where & 7;
    uint32_t offset = where & ~7u;
    uint64_t bytes = (uint64_t)d->msix_count * 16;
    if (bar >= 6 || offset > d->bar[bar].bytes || d->bar[bar].bytes - offset < bytes) {
        return -EINVAL;
    }
    volatile uint8_t *base = pf_pci_map_bar(d, bar);
    if (base == NULL) {
        return -ENODEV;
    }
    d->msix_table = (volatile uint32_t *)(base + offset);
    return 0;
}

int pf_pci_msix_set(struct pf_pci_device *d, unsigned index, int vector, uint32_t cpu_index)
{
    if (d->msix_cap == 0) {
        return -ENODEV;
    }
    if (index >= d->msix_count) {
        return -EINVAL;
    }
    if (d->msix_table == NULL) {
        pf_pci_enable(d); // the table is behind a memory BAR
        int error = map_table(d);
        if (error) {
            return error;
        }
    }
    uint64_t address;
    uint32_t data;
    pf_msi_message(vector, cpu_index, &address, &data);
    volatile uint32_t *entry = d->msix_table + 4 * index;
    entry[ENTRY_CONTROL] = 1; // masked while it changes
    entry[ENTRY_ADDRESS] = (uint32_t)address;
    entry[ENTRY_ADDRESS_HIGH] = (uint32_t)(address >> 32);
    entry[ENTRY_DATA] = data;
    entry[ENTRY_CONTROL] = 0;
    uint16_t at = (uint16_t)(d->msix_cap + MSIX_CONTROL);
    uint16_t control = pf_pci_read16(d, at);
    uint16_t want = (uint16_t)((control | MSIX_ENABLE) & ~MSIX_MASK_ALL);
    if (control != want) {
        pf_pci_write16(d, at, want);
    }
    return 0;
}
