// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ivshmem-plain: memory of the host in BAR 2 of a PCI device that has nothing else to it. Which of
// them are weights is pmem.c's business. Source: QEMU docs/specs/ivshmem-spec.
#include "libos/ivshmem.h"

#include "libos/log.h"
#include "libos/virtio/device.h"
#include "platform/paging.h"
#include "platform/pci_driver.h"

#include <stdio.h>

#define MAX_REGIONS 16u

static struct ivshmem_plain regions[MAX_REGIONS]; // filled by virtio_init, then constant
static size_t region_count;
static void *mapped[MAX_REGIONS]; // atomic, set once
static const struct pf_pci_driver ids PF_PCI_DRIVER = {
    .vendor = 0x1af4, .first = 0x1110, .last = 0x1110, .class_code = 0x05, .name = "ivshmem"};

void ivshmem_probe(void)
{
    struct pf_pci_device *d;
    for (size_t n = 0; (d = pf_pci_driven(&ids, n)) != NULL; n++) {
        if (d->msix_cap || d->bar[2].is_io || d->bar[2].base == 0) {
            continue; // with interrupts it is a doorbell device
        }
        struct ivshmem_plain r = {.phys = d->bar[2].base, .bytes = d->bar[2].bytes};
        snprintf(r.location, sizeof(r.location), "pci %02x:%02x.%u", d->bus, d->device,
                 d->function);
        const char *why = region_count == MAX_REGIONS ? "there are more than 16 regions"
                                                      : pmem_check(r.phys, r.bytes);
        if (why) {
            log_error("ivshmem", "%s: %s", r.location, why);
            continue;
        }
        pf_pci_enable(d);
        regions[region_count++] = r;
    }
}

size_t ivshmem_plain_count(void)
{
    return region_count;
}

const struct ivshmem_plain *ivshmem_plain_at(size_t i)
{
    return i < region_count ? &regions[i] : NULL;
}

void *ivshmem_plain_map(size_t i)
{
    if (i >= region_count) {
        return NULL;
    }
    void *data = __atomic_load_n(&mapped[i], __ATOMIC_ACQUIRE), *other = NULL;
    if (data) {
        return data;
    }
    data =
        pf_map_device(regions[i].phys, regions[i].bytes, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_WB);
    // Of two strands that map it at a time one wins; the other mapping is left unused.
    if (data && !__atomic_compare_exchange_n(&mapped[i], &other, data, false, __ATOMIC_ACQ_REL,
                                             __ATOMIC_ACQUIRE)) {
        return other;
    }
    return data;
}
