// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtio over PCI, modern interface only: structures found through vendor capabilities, interrupts
// by MSI-X. Source: virtio 1.2, 4.1.
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "platform/irq.h"
#include "platform/pci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VENDOR_VIRTIO      0x1af4
#define MODERN_BASE        0x1040 // product = base + device type
#define TRANSITIONAL_END   0x103f // 0x1000…: type in the subsystem id, modern capabilities as well
#define CAP_VENDOR         0x09
#define PCI_COMMAND        0x04
#define PCI_COMMAND_MASTER 4u
#define NO_VECTOR          0xffffu
#define MAX_CAPABILITIES   48

// virtio_pci_cap (4.1.4), offsets from the capability.
#define CAP_LENGTH     2
#define CAP_KIND       3
#define CAP_BAR        4
#define CAP_OFFSET     8
#define CAP_BYTES      12
#define CAP_MULTIPLIER 16 // notify only
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4 };

// virtio_pci_common_cfg (4.1.4.3).
#define COMMON_FEATURE_SELECT        0
#define COMMON_FEATURE               4
#define COMMON_DRIVER_FEATURE_SELECT 8
#define COMMON_DRIVER_FEATURE        12
#define COMMON_CONFIG_VECTOR         16
#define COMMON_QUEUES                18
#define COMMON_STATUS                20
#define COMMON_GENERATION            21
#define COMMON_QUEUE_SELECT          22
#define COMMON_QUEUE_SIZE            24
#define COMMON_QUEUE_VECTOR          26
#define COMMON_QUEUE_ENABLE          28
#define COMMON_QUEUE_NOTIFY_OFFSET   30
#define COMMON_QUEUE_DESC            32
#define COMMON_QUEUE_DRIVER          40
#define COMMON_QUEUE_DEVICE          48
#define COMMON_BYTES                 56

static uint8_t get8(struct virtio_device *d, unsigned offset)
{
    return *(d->pci.common + offset);
}
static uint16_t get16(struct virtio_device *d, unsigned offset)
{
    return *(volatile uint16_t *)(d->pci.common + offset);
}
static uint32_t get32(struct virtio_device *d, unsigned offset)
{
    return *(volatile uint32_t *)(d->pci.common + offset);
}
static void set16(struct virtio_device *d, unsigned offset, uint16_t v)
{
    *(volatile uint16_t *)(d->pci.common + offset) = v;
}
static void set32(struct virtio_device *d, unsigned offset, uint32_t v)
{
    *(volatile uint32_t *)(d->pci.common + offset) = v;
}
// 4.1.3.1: 64-bit fields are two 32-bit accesses.
static void set64(struct virtio_device *d, unsigned offset, uint64_t v)
{
    set32(d, offset, (uint32_t)v);
    set32(d, offset + 4, (uint32_t)(v >> 32));
}

static uint8_t pci_status(struct virtio_device *d)
{
    return get8(d, COMMON_STATUS);
}
static void pci_set_status(struct virtio_device *d, uint8_t status)
{
    *(d->pci.common + COMMON_STATUS) = status;
}
static uint32_t pci_features(struct virtio_device *d, unsigned word)
{
    set32(d, COMMON_FEATURE_SELECT, word);
    return get32(d, COMMON_FEATURE);
}
static void pci_set_features(struct virtio_device *d, unsigned word, uint32_t bits)
{
    set32(d, COMMON_DRIVER_FEATURE_SELECT, word);
    set32(d, COMMON_DRIVER_FEATURE, bits);
}
static uint32_t pci_generation(struct virtio_device *d)
{
    return get8(d, COMMON_GENERATION);
}

static uint32_t pci_config(struct virtio_device *d, unsigned offset, unsigned width)
{
    if (!d->pci.config || offset + width > d->pci.config_bytes) {
        return UINT32_MAX;
    }
    volatile uint8_t *at = d->pci.config + offset;
    return width == 1 ? *at : width == 2 ? *(volatile uint16_t *)at : *(volatile uint32_t *)at;
}

static uint16_t pci_queue_max(struct virtio_device *d, unsigned index)
{
    if (index >= get16(d, COMMON_QUEUES)) {
        return 0;
    }
    set16(d, COMMON_QUEUE_SELECT, (uint16_t)index);
    return get16(d, COMMON_QUEUE_SIZE);
}

// True if the device took the vector (4.1.5.1.2: it answers NO_VECTOR if it is out of resources).
static bool set_vector(struct virtio_device *d, unsigned field, uint16_t vector)
{
    set16(d, field, vector);
    return vector == NO_VECTOR || get16(d, field) == vector;
}

static int pci_queue_enable(struct virtio_device *d, unsigned index, const struct vq *q)
{
    set16(d, COMMON_QUEUE_SELECT, (uint16_t)index);
    if (get16(d, COMMON_QUEUE_ENABLE) != 0) {
        return -EIO;
    }
    uint64_t doorbell = (uint64_t)get16(d, COMMON_QUEUE_NOTIFY_OFFSET) * d->pci.notify_multiplier;
    if (doorbell + 2 > d->pci.notify_bytes || (doorbell & 1)) {
        log_error("virtio", "%s: doorbell of queue %u lies outside its BAR window", d->name, index);
        return -EIO;
    }
    d->pci.doorbell[index] = (volatile uint16_t *)(d->pci.notify + doorbell);
    set16(d, COMMON_QUEUE_SIZE, q->config.size);
    set64(d, COMMON_QUEUE_DESC, q->desc_phys);
    set64(d, COMMON_QUEUE_DRIVER, q->driver_phys);
    set64(d, COMMON_QUEUE_DEVICE, q->device_phys);
    if (!set_vector(d, COMMON_QUEUE_VECTOR, d->pci.queue_vector[index])) {
        log_error("virtio", "%s: takes no MSI-X vector for queue %u", d->name, index);
        return -EIO;
    }
    set16(d, COMMON_QUEUE_ENABLE, 1);
    return 0;
}

static void pci_notify(struct virtio_device *d, unsigned index)
{
    *d->pci.doorbell[index] = (uint16_t)index;
}

static void pci_isolate(struct virtio_device *d)
{
    uint16_t command = pf_pci_read16(d->pci.pci, PCI_COMMAND);
    pf_pci_write16(d->pci.pci, PCI_COMMAND, (uint16_t)(command & ~PCI_COMMAND_MASTER));
}

static int add_line(struct virtio_device *d, unsigned entry, int queue)
{
    d->lines[entry] = (struct virtio_line){d, queue};
    int vector = pf_irq_alloc(virtio_line_interrupt, &d->lines[entry]);
    if (vector < 0) {
        return vector;
    }
    int rc = pf_pci_msix_set(d->pci.pci, entry, vector, 0);
    if (rc) {
        pf_irq_free(vector);
        return rc;
    }
    return 0;
}

// A line for the configuration and one a queue; with fewer MSI-X entries the queues share one,
// with a single entry everything does.
static int pci_interrupts(struct virtio_device *d, unsigned queues)
{
    if (d->vectors) { // started anew: the lines stay, the device forgot its side
        return set_vector(d, COMMON_CONFIG_VECTOR, d->pci.config_vector) ? 0 : -EIO;
    }
    unsigned entries = d->pci.pci->msix_cap ? d->pci.pci->msix_count : 0;
    if (entries == 0) {
        return -ENODEV;
    }
    unsigned lines = entries > queues ? queues + 1 : entries >= 2 ? 2 : 1;
    for (unsigned i = 0; i < lines; i++) {
        int queue = lines == 1            ? VIRTIO_LINE_ALL
                    : i == 0              ? VIRTIO_LINE_CONFIG
                    : lines == queues + 1 ? (int)i - 1
                                          : VIRTIO_LINE_QUEUES;
        int rc = add_line(d, i, queue);
        if (rc) {
            return rc; // lines already set stay, and are harmless: no queue is pointed at them
        }
    }
    if (!set_vector(d, COMMON_CONFIG_VECTOR, 0)) {
        return -EIO;
    }
    d->pci.config_vector = 0;
    for (unsigned i = 0; i < queues; i++) {
        unsigned entry = lines == 1 ? 0 : lines == queues + 1 ? i + 1 : 1;
        d->pci.queue_vector[i] = (uint16_t)entry;
    }
    d->vectors = lines;
    return 0;
}

static const struct virtio_ops pci_ops = {
    .kind = "pci",
    .status = pci_status,
    .set_status = pci_set_status,
    .features = pci_features,
    .set_features = pci_set_features,
    .generation = pci_generation,
    .config = pci_config,
    .queue_max = pci_queue_max,
    .queue_enable = pci_queue_enable,
    .notify = pci_notify,
    .isolate = pci_isolate,
    .interrupts = pci_interrupts,
};

// Maps the window a capability describes; NULL if it does not lie within a memory BAR.
static volatile uint8_t *window(struct pf_pci_device *p, uint16_t cap, uint32_t least,
                                uint32_t *bytes)
{
    uint8_t bar = pf_pci_read8(p, (uint16_t)(cap + CAP_BAR));
    uint32_t offset = pf_pci_read32(p, (uint16_t)(cap + CAP_OFFSET));
    *bytes = pf_pci_read32(p, (uint16_t)(cap + CAP_BYTES));
    if (bar > 5 || p->bar[bar].base == 0 || p->bar[bar].is_io || *bytes < least ||
        (uint64_t)offset + *bytes > p->bar[bar].bytes || (offset & 3)) {
        return NULL;
    }
    volatile uint8_t *base = pf_pci_map_bar(p, bar);
    return base ? base + offset : NULL;
}

static const char *find_windows(struct virtio_device *d, struct pf_pci_device *p)
{
    uint16_t cap = 0;
    uint32_t bytes;
    for (int i = 0; i < MAX_CAPABILITIES; i++) {
        cap = pf_pci_capability(p, CAP_VENDOR, cap);
        if (cap == 0) {
            break;
        }
        // The first usable capability of a kind wins (4.1.4.1); unknown kinds are skipped.
        switch (pf_pci_read8(p, (uint16_t)(cap + CAP_KIND))) {
        case CAP_COMMON:
            if (!d->pci.common) {
                d->pci.common = window(p, cap, COMMON_BYTES, &bytes);
            }
            break;
        case CAP_NOTIFY:
            if (!d->pci.notify && pf_pci_read8(p, (uint16_t)(cap + CAP_LENGTH)) >= 20) {
                d->pci.notify = window(p, cap, 2, &d->pci.notify_bytes);
                d->pci.notify_multiplier = pf_pci_read32(p, (uint16_t)(cap + CAP_MULTIPLIER));
            }
            break;
        case CAP_DEVICE:
            if (!d->pci.config) {
                d->pci.config = window(p, cap, 1, &d->pci.config_bytes);
            }
            break;
        default:
            break;
        }
    }
    return !d->pci.common   ? "no usable common configuration (legacy-only device?)"
           : !d->pci.notify ? "no usable notification area"
                            : NULL;
}

void virtio_pci_probe(bool (*wanted)(uint32_t type),
                      void (*found)(const struct virtio_device *model))
{
    for (size_t i = 0; i < pf_pci_count(); i++) {
        struct pf_pci_device *p = pf_pci_at(i);
        if (p->vendor != VENDOR_VIRTIO || p->product < 0x1000 || p->product > MODERN_BASE + 63) {
            continue;
        }
        struct virtio_device d = {.ops = &pci_ops};
        d.type = p->product <= TRANSITIONAL_END ? p->subsystem : p->product - (uint32_t)MODERN_BASE;
        if (!wanted(d.type)) {
            continue;
        }
        snprintf(d.location, sizeof(d.location), "pci %02x:%02x.%x", p->bus, p->device,
                 p->function);
        pf_pci_enable(p);
        d.pci.pci = p;
        d.pci.config_vector = NO_VECTOR;
        for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++) {
            d.pci.queue_vector[q] = NO_VECTOR;
        }
        const char *why = find_windows(&d, p);
        if (why) {
            log_error("virtio", "%s: %s", d.location, why);
            continue;
        }
        found(&d);
    }
}
