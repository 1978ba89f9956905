// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// platform/pci.h and platform/irq.h over plain memory, for tests.
#include "libos/virtio/pci_host.h"

#include "platform/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pf_pci_device pci_host_device;
uint8_t pci_host_config[256];
unsigned pci_host_bar_index;
static uint8_t *bar_memory;

void pci_host_make(uint16_t product, uint16_t subsystem, unsigned bar, uint32_t bytes)
{
    free(bar_memory);
    bar_memory = calloc(1, bytes ? bytes : 1);
    memset(pci_host_config, 0, sizeof(pci_host_config));
    pci_host_device =
        (struct pf_pci_device){.vendor = 0x1af4, .product = product, .subsystem = subsystem};
    pci_host_bar_index = bar;
    pci_host_device.bar[bar].base = 0x1000;
    pci_host_device.bar[bar].bytes = bytes;
}

void pci_host_capability(uint8_t at, uint8_t next, uint8_t kind, uint8_t bar, uint32_t offset,
                         uint32_t bytes)
{
    uint8_t cap[20] = {0x09, next, 20, kind, bar};
    memcpy(cap + 8, &offset, 4);
    memcpy(cap + 12, &bytes, 4);
    cap[16] = 4;
    memcpy(pci_host_config + at, cap, sizeof(cap));
}

uint8_t *pci_host_bar(void)
{
    return bar_memory;
}

size_t pf_pci_count(void)
{
    return 1;
}
struct pf_pci_device *pf_pci_at(size_t i)
{
    return i == 0 ? &pci_host_device : NULL;
}
uint8_t pf_pci_read8(const struct pf_pci_device *d, uint16_t offset)
{
    (void)d;
    return offset < 256 ? pci_host_config[offset] : 0xff;
}
uint16_t pf_pci_read16(const struct pf_pci_device *d, uint16_t offset)
{
    return (uint16_t)(pf_pci_read8(d, offset) | pf_pci_read8(d, (uint16_t)(offset + 1)) << 8);
}
uint32_t pf_pci_read32(const struct pf_pci_device *d, uint16_t offset)
{
    return pf_pci_read16(d, offset) | (uint32_t)pf_pci_read16(d, (uint16_t)(offset + 2)) << 16;
}
void pf_pci_write16(const struct pf_pci_device *d, uint16_t offset, uint16_t v)
{
    (void)d;
    memcpy(pci_host_config + offset, &v, 2);
}
uint16_t pf_pci_capability(const struct pf_pci_device *d, uint8_t id, uint16_t from)
{
    uint8_t at = pf_pci_read8(d, from ? (uint16_t)(from + 1) : 0x34) & 0xfc;
    for (int i = 0; i < 48 && at >= 0x40; i++) {
        if (pf_pci_read8(d, at) == id) {
            return at;
        }
        at = pf_pci_read8(d, (uint16_t)(at + 1)) & 0xfc;
    }
    return 0;
}
void pf_pci_enable(struct pf_pci_device *d)
{
    (void)d;
}
volatile void *pf_pci_map_bar(struct pf_pci_device *d, unsigned bar)
{
    return d->bar[bar].base ? bar_memory : NULL;
}
int pf_pci_msix_set(struct pf_pci_device *d, unsigned index, int vector, uint32_t cpu_index)
{
    (void)vector;
    (void)cpu_index;
    return index < d->msix_count ? 0 : -EINVAL;
}
int pf_irq_alloc(pf_irq_handler handler, void *arg)
{
    (void)handler;
    (void)arg;
    return 0x30;
}
void pf_irq_free(int vector)
{
    (void)vector;
}
