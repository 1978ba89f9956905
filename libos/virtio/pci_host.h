// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests of the PCI transport: one device whose configuration space and BAR the test owns.
#ifndef LIBOS_VIRTIO_PCI_HOST_H
#define LIBOS_VIRTIO_PCI_HOST_H

#include "platform/pci.h"

extern struct pf_pci_device pci_host_device;
extern uint8_t pci_host_config[256];
extern unsigned pci_host_bar_index;

// A device of that product and subsystem with one memory BAR of `bytes` (on the heap, so that the
// sanitizer sees a byte too far).
void pci_host_make(uint16_t product, uint16_t subsystem, unsigned bar, uint32_t bytes);
// Writes a virtio capability at `at`, next one at `next`.
void pci_host_capability(uint8_t at, uint8_t next, uint8_t kind, uint8_t bar, uint32_t offset,
                         uint32_t bytes);
uint8_t *pci_host_bar(void);

#endif
