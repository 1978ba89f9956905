// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which PCI devices this image drives. Each driver places its entries in one section; the linker
// makes them the content of an ELF note (owner "Tessera", type 1), where the host's tools read the
// same table before they give a guest a device (hypercall/host/hardware/image.c).
#ifndef PLATFORM_PCI_DRIVER_H
#define PLATFORM_PCI_DRIVER_H

#include "platform/pci.h"

// As it stands in the note: little-endian, without padding.
struct pf_pci_driver {
    uint16_t vendor, first, last; // products from first to last
    uint8_t class_code, subclass; // what kind of device it is
    char name[24];                // NUL-terminated
};
_Static_assert(sizeof(struct pf_pci_driver) == 32, "an entry of the note");

// For definitions of entries. The linker drops those that no code refers to, and with them the
// claim: a driver finds its devices by its entries.
#define PF_PCI_DRIVER __attribute__((section(".pci_drivers"), aligned(4)))

bool pf_pci_driver_matches(const struct pf_pci_driver *driver, const struct pf_pci_device *d);
// The nth device that the entry is for, NULL: there are fewer.
struct pf_pci_device *pf_pci_driven(const struct pf_pci_driver *driver, size_t nth);
// The name of the driver that this image has for the device, NULL: it has none.
const char *pf_pci_driver_name(const struct pf_pci_device *d);

#endif
