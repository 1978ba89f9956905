// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ivshmem-doorbell: BAR 0 holds registers, BAR 2 the shared memory, MSI-X vectors are the doorbells
// that others ring here. Source: QEMU docs/specs/ivshmem-spec.
#include "libos/ivshmem_doorbell.h"

#include "libos/log.h"
#include "libos/virtio/device.h"
#include "platform/irq.h"
#include "platform/paging.h"
#include "platform/pci_driver.h"

#include <errno.h>
#include <stdio.h>

#define REGISTER_BYTES 256u
#define IVPOSITION     8  // our peer number; negative: the server has not given one
#define DOORBELL       12 // peer << 16 | vector
#define MOST_DEVICES   4u

static const struct pf_pci_driver ids PF_PCI_DRIVER = {
    .vendor = 0x1af4, .first = 0x1110, .last = 0x1110, .class_code = 0x05, .name = "ivshmem"};
static struct ivshmem_doorbell devices[MOST_DEVICES]; // memory != NULL: open
static struct line {
    struct ivshmem_doorbell *device;
    unsigned vector;
} lines[MOST_DEVICES][IVSHMEM_MOST_VECTORS];

// A device without MSI-X is ivshmem-plain: memory alone.
static struct pf_pci_device *find(size_t n)
{
    struct pf_pci_device *d;
    for (size_t i = 0; (d = pf_pci_driven(&ids, i)) != NULL; i++) {
        if (d->msix_cap && n-- == 0) {
            return d;
        }
    }
    return NULL;
}

size_t ivshmem_doorbell_count(void)
{
    size_t n = 0;
    while (n < MOST_DEVICES && find(n)) {
        n++;
    }
    return n;
}

VIRTIO_IRQ static void rung(void *arg)
{
    const struct line *line = arg;
    struct ivshmem_doorbell *d = line->device;
    d->interrupts[line->vector]++;
    wake_set(d->wakes[line->vector]);
}

static const char *check(struct pf_pci_device *p)
{
    pf_pci_size(p);
    if (p->bar[0].is_io || p->bar[0].base == 0 || p->bar[0].bytes < REGISTER_BYTES) {
        return "it has no registers (BAR 0)";
    }
    if (p->bar[2].is_io || p->bar[2].base == 0) {
        return "it has no memory (BAR 2)";
    }
    return pmem_check(p->bar[2].base, p->bar[2].bytes);
}

static int listen_to(struct pf_pci_device *p, struct ivshmem_doorbell *d, size_t n, unsigned i)
{
    lines[n][i].device = d;
    lines[n][i].vector = i;
    int vector = pf_irq_alloc(rung, &lines[n][i]);
    if (vector < 0) {
        return vector;
    }
    int rc = pf_pci_msix_set(p, i, vector, 0);
    if (rc) {
        pf_irq_free(vector);
    }
    return rc;
}

int ivshmem_doorbell_open(size_t n, struct wake *const *wakes, unsigned vectors,
                          struct ivshmem_doorbell **out, const char **why)
{
    struct pf_pci_device *p = n < MOST_DEVICES ? find(n) : NULL;
    *why = "there is no such device";
    if (!p) {
        return -ENODEV;
    }
    struct ivshmem_doorbell *d = &devices[n];
    if ((*why = d->memory ? "it is in use already" : check(p)) != NULL) {
        return -EINVAL;
    }
    if (vectors > IVSHMEM_MOST_VECTORS || vectors > p->msix_count) {
        *why = "it has too few MSI-X vectors (vectors= of the device and the server must agree)";
        return -ENOSPC;
    }
    pf_pci_enable(p);
    volatile uint8_t *registers = pf_pci_map_bar(p, 0);
    uint8_t *memory =
        pf_map_device(p->bar[2].base, p->bar[2].bytes, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_WB);
    *why = "no room to map it";
    if (!registers || !memory) {
        return -ENOMEM;
    }
    *d = (struct ivshmem_doorbell){.bytes = p->bar[2].bytes, .vectors = vectors};
    d->registers = (volatile uint32_t *)registers;
    snprintf(d->location, sizeof d->location, "pci %02x:%02x.%x", p->bus, p->device, p->function);
    int32_t position = (int32_t)d->registers[IVPOSITION / 4];
    *why = "the server gave it no number";
    if (position < 0 || position > UINT16_MAX) {
        return -EINVAL;
    }
    d->peer = (uint32_t)position;
    *why = "no free interrupt vector";
    for (unsigned i = 0; i < vectors; i++) {
        d->wakes[i] = wakes[i];
        int rc = listen_to(p, d, n, i);
        if (rc) {
            return rc;
        }
    }
    d->memory = memory;
    *why = NULL;
    *out = d;
    log_debug("ivshmem", "%s: %llu KB shared, peer %u, %u vectors", d->location,
              (unsigned long long)d->bytes / 1024, d->peer, vectors);
    return 0;
}

void ivshmem_doorbell_ring(const struct ivshmem_doorbell *d, uint16_t peer, uint16_t vector)
{
    d->registers[DOORBELL / 4] = (uint32_t)peer << 16 | vector;
}
