// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PCI configuration space behind two functions, and what is built on it without touching hardware
// otherwise: enumeration, BAR sizes, address assignment. Sources: PCI Local Bus 3.0 ch. 6;
// PCI-to-PCI Bridge 1.2 ch. 3.
#ifndef PLATFORM_PCI_CONFIG_H
#define PLATFORM_PCI_CONFIG_H

#include "platform/pci.h"

#include <stdbool.h>

#define PCI_MAX_DEVICES 64u
#define PCI_MAX_BUSES   32u

enum {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04, // and status in the upper half
    PCI_CLASS = 0x08,
    PCI_HEADER = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_BUSES = 0x18, // bridge: primary, secondary, subordinate, latency
    PCI_BRIDGE_IO = 0x1c,
    PCI_BRIDGE_MEMORY = 0x20,
    PCI_BRIDGE_PREFETCH = 0x24,
    PCI_SUBSYSTEM = 0x2c,
    PCI_CAPABILITIES = 0x34,
};
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MEMORY = 2, PCI_COMMAND_MASTER = 4 };
enum { PCI_STATUS_CAPABILITIES = 0x10, PCI_CAP_MSIX = 0x11 };

// 32-bit aligned accesses. bus/device/function packed as bus<<8 | device<<3 | function.
struct pci_config {
    uint32_t (*read)(void *ctx, uint16_t bdf, uint16_t offset);
    void (*write)(void *ctx, uint16_t bdf, uint16_t offset, uint32_t value);
    void *ctx;
    uint8_t first_bus, last_bus; // that can be reached
};

// Physical addresses that BARs may be given.
struct pci_window {
    uint64_t base, end; // end exclusive
};
struct pci_windows {
    struct pci_window low;  // below 4 GB
    struct pci_window high; // above, for large 64-bit BARs; end 0: none
};

struct pci_bridge {
    uint16_t bdf;
    uint8_t secondary, subordinate;
    bool configured;                  // by the firmware
    uint64_t memory_base, memory_end; // forwarded window; end exclusive
};

struct pci_tree {
    struct pci_config config;
    size_t count;
    struct pf_pci_device device[PCI_MAX_DEVICES];
    size_t bridge_count;
    struct pci_bridge bridge[PCI_MAX_BUSES];
    unsigned unassigned; // BARs that found no place
    unsigned dropped;    // devices beyond PCI_MAX_DEVICES
};

static inline uint16_t pci_bdf(const struct pf_pci_device *d)
{
    return (uint16_t)(d->bus << 8 | d->device << 3 | d->function);
}

// Finds devices and bridges from config.first_bus down and sizes BARs, except those of chipset
// functions that the firmware has set up: nothing here drives them, and sizing moves a BAR away and
// back, which a hypervisor answers with two rounds of rebuilding its memory map (0.5 ms a device
// under emulation). Bridges that the firmware left without bus numbers get them.
void pci_enumerate(struct pci_tree *t);
// Sizes the BARs of one device, if that has not been done.
void pci_size_bars(const struct pci_config *c, struct pf_pci_device *d);
// Gives memory BARs without an address one, keeping clear of those that have one, and opens the
// bridges' windows over them.
void pci_assign(struct pci_tree *t, const struct pci_windows *w);
// Offset of the next capability, 0 if none (bounded).
uint16_t pci_find_capability(const struct pci_config *c, uint16_t bdf, uint8_t id, uint16_t from);

// One line in the log for each device that this image has no driver for, the chipset's aside.
void pci_report_undriven(void);

uint32_t pci_read(const struct pci_config *c, uint16_t bdf, uint16_t offset, unsigned bytes);
void pci_write(const struct pci_config *c, uint16_t bdf, uint16_t offset, unsigned bytes,
               uint32_t value);

#endif
