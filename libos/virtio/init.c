// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finds the virtio devices of the machine and gives each to its driver.
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "libos/sched.h"
#include "libos/spin.h"
#include "platform/pci_driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DEVICES 32u

// Two strands may be finding devices at a time.
static uint32_t lock;                              // protects adding
static struct virtio_device *devices[MAX_DEVICES]; // entries below device_count stay as they are
static unsigned device_count;                      // release, acquire

// A transitional device's id, where there is one, and the modern one (1.2, 4.1.2.1).
#define IDS(id, class, ...)                                                                        \
    {                                                                                              \
        .vendor = 0x1af4, .first = (id), .last = (id), .class_code = (class), .name = __VA_ARGS__  \
    }
static const struct pf_pci_driver net_ids[] PF_PCI_DRIVER = {IDS(0x1000, 0x02, "virtio-net"),
                                                             IDS(0x1041, 0x02, "virtio-net")};
static const struct pf_pci_driver blk_ids[] PF_PCI_DRIVER = {IDS(0x1001, 0x01, "virtio-blk"),
                                                             IDS(0x1042, 0x01, "virtio-blk")};
static const struct pf_pci_driver rng_ids[] PF_PCI_DRIVER = {IDS(0x1005, 0x00, "virtio-rng"),
                                                             IDS(0x1044, 0x00, "virtio-rng")};
static const struct pf_pci_driver pmem_ids[] PF_PCI_DRIVER = {IDS(0x105b, 0x05, "virtio-pmem")};

static const struct {
    uint32_t type;
    const char *name;
    int (*probe)(struct virtio_device *d);
    const struct pf_pci_driver *ids; // referred to, so that the image claims them
} drivers[] = {
    {VIRTIO_NET, "net", virtio_net_probe, net_ids},
    {VIRTIO_BLK, "blk", virtio_blk_probe, blk_ids},
    {VIRTIO_RNG, "rng", virtio_rng_probe, rng_ids},
    {VIRTIO_PMEM, "pmem", virtio_pmem_probe, pmem_ids},
};

// Names the device and makes it visible. False: there is no room.
static bool enlist(struct virtio_device *d, const char *kind)
{
    spin_lock(&lock);
    unsigned count = device_count, ordinal = 0;
    for (unsigned k = 0; k < count; k++) {
        ordinal += devices[k]->type == d->type;
    }
    if (count < MAX_DEVICES) {
        snprintf(d->name, sizeof(d->name), "virtio-%s%u", kind, ordinal);
        devices[count] = d;
        __atomic_store_n(&device_count, count + 1, __ATOMIC_RELEASE);
    }
    spin_unlock(&lock);
    return count < MAX_DEVICES;
}

static void found(const struct virtio_device *model)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (drivers[i].type != model->type) {
            continue;
        }
        struct virtio_device *d = malloc(sizeof(*d));
        if (!d) {
            log_error("virtio", "%s: no memory for another device", model->location);
            return;
        }
        *d = *model;
        if (!enlist(d, drivers[i].name)) {
            log_error("virtio", "%s: more than %u devices", model->location, MAX_DEVICES);
            free(d);
            return;
        }
        int rc = drivers[i].probe(d);
        if (rc && !d->broken) {
            log_error("virtio", "%s (%s): error %d", d->name, d->location, -rc);
            virtio_fail(d, "could not be started");
        }
        return;
    }
}

// Stands in for interrupts that a device does not have. blk and rng look for themselves.
static void poll_strand(void *arg)
{
    (void)arg;
    for (;;) {
        strand_sleep_ns(VIRTIO_POLL_NS);
        for (unsigned i = 0; i < virtio_count(); i++) {
            struct virtio_device *d = devices[i];
            if (d->polled && d->type == VIRTIO_NET && !d->broken) {
                virtio_poll_all(d);
            }
        }
    }
}

// The network and what its start needs (random numbers); and what can hold the application's data.
static bool is_network(uint32_t type)
{
    return type == VIRTIO_NET || type == VIRTIO_RNG;
}

static bool is_storage(uint32_t type)
{
    return type == VIRTIO_BLK || type == VIRTIO_PMEM;
}

void virtio_init(void)
{
    virtio_pci_probe(is_storage, found);
    virtio_mmio_probe(is_storage, found);
    ivshmem_probe();
    pmem_probe_ivshmem();
}

void virtio_init_network(void)
{
    virtio_pci_probe(is_network, found);
    virtio_mmio_probe(is_network, found);
    for (unsigned i = 0; i < virtio_count(); i++) {
        if (devices[i]->polled && devices[i]->type == VIRTIO_NET) {
            if (strand_create("virtio-poll", poll_strand, NULL, STRAND_HIGH, 0, 0, NULL) != 0) {
                log_error("virtio", "no memory for the polling strand; %s will be deaf",
                          devices[i]->name);
            }
            break;
        }
    }
}

size_t virtio_count(void)
{
    return __atomic_load_n(&device_count, __ATOMIC_ACQUIRE);
}

int virtio_at(size_t i, struct virtio_info *out)
{
    if (i >= virtio_count()) {
        return -ENOENT;
    }
    const struct virtio_device *d = devices[i];
    *out = (struct virtio_info){
        .name = d->name,
        .transport = d->ops->kind,
        .location = d->location,
        .type = d->type,
        .features = d->features,
        .packed = virtio_has(d, VIRTIO_F_RING_PACKED),
        .polled = d->polled,
        .vectors = d->vectors,
        .interrupts = d->interrupts,
        .broken = d->broken,
    };
    return 0;
}
