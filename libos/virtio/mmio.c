// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtio over MMIO, version 2, as QEMU's microvm has it. Source: virtio 1.2, 4.2. Where the
// transports lie: `virtio_mmio.device=SIZE@BASE:IRQ` on the kernel command line, else the fixed
// window of microvm (see microvm_window).
#include "libos/virtio/device.h"
#include "libos/virtio/mmio_cmdline.h"

#include "libos/log.h"
#include "platform/acpi.h"
#include "platform/boot.h"
#include "platform/irq.h"
#include "platform/paging.h"
#include "platform/pci.h"

#include <errno.h>
#include <stdio.h>

#define REG_MAGIC             0x000
#define REG_VERSION           0x004
#define REG_DEVICE            0x008
#define REG_FEATURES          0x010
#define REG_FEATURES_SELECT   0x014
#define REG_DRIVER            0x020
#define REG_DRIVER_SELECT     0x024
#define REG_QUEUE_SELECT      0x030
#define REG_QUEUE_MAX         0x034
#define REG_QUEUE_SIZE        0x038
#define REG_QUEUE_READY       0x044
#define REG_QUEUE_NOTIFY      0x050
#define REG_INTERRUPT_STATUS  0x060
#define REG_INTERRUPT_ACK     0x064
#define REG_STATUS            0x070
#define REG_QUEUE_DESC        0x080
#define REG_QUEUE_DRIVER      0x090
#define REG_QUEUE_DEVICE      0x0a0
#define REG_CONFIG_GENERATION 0x0fc
#define REG_CONFIG            0x100

#define MAGIC             0x74726976u // "virt"
#define INTERRUPT_QUEUES  1u
#define INTERRUPT_CONFIG  2u
#define MAX_TRANSPORTS    32u
#define MICROVM_BASE      0xfeb00000ull
#define MICROVM_STEP      0x200u
#define MICROVM_WITH_ACPI 24u // transports; GSIs from 24 on a second I/O APIC, else from 16
#define MICROVM_NO_ACPI   8u  // GSIs from 5

VIRTIO_IRQ static uint32_t get(struct virtio_device *d, unsigned reg)
{
    return *(volatile uint32_t *)(d->mmio.regs + reg);
}
VIRTIO_IRQ static void set(struct virtio_device *d, unsigned reg, uint32_t v)
{
    *(volatile uint32_t *)(d->mmio.regs + reg) = v;
}
static void set_address(struct virtio_device *d, unsigned reg, uint64_t v)
{
    set(d, reg, (uint32_t)v);
    set(d, reg + 4, (uint32_t)(v >> 32));
}

static uint8_t mmio_status(struct virtio_device *d)
{
    return (uint8_t)get(d, REG_STATUS);
}
static void mmio_set_status(struct virtio_device *d, uint8_t status)
{
    set(d, REG_STATUS, status);
}
static uint32_t mmio_features(struct virtio_device *d, unsigned word)
{
    set(d, REG_FEATURES_SELECT, word);
    return get(d, REG_FEATURES);
}
static void mmio_set_features(struct virtio_device *d, unsigned word, uint32_t bits)
{
    set(d, REG_DRIVER_SELECT, word);
    set(d, REG_DRIVER, bits);
}
static uint32_t mmio_generation(struct virtio_device *d)
{
    return get(d, REG_CONFIG_GENERATION);
}

static uint32_t mmio_config(struct virtio_device *d, unsigned offset, unsigned width)
{
    if (offset + width > MICROVM_STEP - REG_CONFIG) {
        return UINT32_MAX;
    }
    volatile uint8_t *at = d->mmio.regs + REG_CONFIG + offset;
    return width == 1 ? *at : width == 2 ? *(volatile uint16_t *)at : *(volatile uint32_t *)at;
}

static uint16_t mmio_queue_max(struct virtio_device *d, unsigned index)
{
    set(d, REG_QUEUE_SELECT, index);
    uint32_t max = get(d, REG_QUEUE_MAX);
    return max > VQ_MAX_SIZE ? 0 : (uint16_t)max;
}

static int mmio_queue_enable(struct virtio_device *d, unsigned index, const struct vq *q)
{
    set(d, REG_QUEUE_SELECT, index);
    if (get(d, REG_QUEUE_READY) != 0) {
        return -EIO;
    }
    set(d, REG_QUEUE_SIZE, q->config.size);
    set_address(d, REG_QUEUE_DESC, q->desc_phys);
    set_address(d, REG_QUEUE_DRIVER, q->driver_phys);
    set_address(d, REG_QUEUE_DEVICE, q->device_phys);
    set(d, REG_QUEUE_READY, 1);
    return get(d, REG_QUEUE_READY) == 1 ? 0 : -EIO;
}

static void mmio_notify(struct virtio_device *d, unsigned index)
{
    set(d, REG_QUEUE_NOTIFY, index);
}

// The line is level-triggered: the cause is acknowledged before the handlers look at the rings, so
// what comes in meanwhile raises it again.
VIRTIO_IRQ static void mmio_interrupt(void *arg)
{
    struct virtio_device *d = arg;
    uint32_t why = get(d, REG_INTERRUPT_STATUS) & (INTERRUPT_QUEUES | INTERRUPT_CONFIG);
    if (why == 0) {
        return;
    }
    set(d, REG_INTERRUPT_ACK, why);
    if (why & INTERRUPT_QUEUES) {
        virtio_line_interrupt(&d->lines[0]);
    }
    if (why & INTERRUPT_CONFIG) {
        virtio_line_interrupt(&d->lines[1]);
    }
}

static int mmio_interrupts(struct virtio_device *d, unsigned queues)
{
    (void)queues; // one line for all
    if (d->vectors) {
        return 0;
    }
    if (!d->mmio.has_gsi) {
        return -ENODEV;
    }
    d->lines[0] = (struct virtio_line){d, VIRTIO_LINE_QUEUES};
    d->lines[1] = (struct virtio_line){d, VIRTIO_LINE_CONFIG};
    int vector = pf_irq_alloc(mmio_interrupt, d);
    if (vector < 0) {
        return vector;
    }
    int rc = pf_irq_route_gsi(d->mmio.gsi, vector, 1, 0);
    if (rc) {
        pf_irq_free(vector);
        return rc;
    }
    d->vectors = 1;
    return 0;
}

static const struct virtio_ops mmio_ops = {
    .kind = "mmio",
    .status = mmio_status,
    .set_status = mmio_set_status,
    .features = mmio_features,
    .set_features = mmio_set_features,
    .generation = mmio_generation,
    .config = mmio_config,
    .queue_max = mmio_queue_max,
    .queue_enable = mmio_queue_enable,
    .notify = mmio_notify,
    .interrupts = mmio_interrupts,
};

static void try_transport(volatile uint8_t *regs, uint64_t base, unsigned gsi,
                          bool (*wanted)(uint32_t type),
                          void (*found)(const struct virtio_device *model))
{
    struct virtio_device d = {.ops = &mmio_ops};
    d.mmio.regs = regs;
    d.mmio.gsi = gsi;
    d.mmio.has_gsi = true;
    if (get(&d, REG_MAGIC) != MAGIC) {
        return;
    }
    d.type = get(&d, REG_DEVICE);
    if (d.type == 0 || !wanted(d.type)) {
        return; // an empty slot, or not now
    }
    snprintf(d.location, sizeof(d.location), "mmio 0x%llx", (unsigned long long)base);
    uint32_t version = get(&d, REG_VERSION);
    if (version != 2) {
        log_error("virtio",
                  "%s: device type %u speaks legacy virtio-mmio (version %u); start QEMU with "
                  "-global virtio-mmio.force-legacy=false",
                  d.location, d.type, version);
        return;
    }
    found(&d);
}

// microvm puts its transports at a fixed place; the GSI depends on what ACPI says. PCI machines
// with a host bridge have other things there and are left alone (microvm,pcie=on has both).
static void microvm_window(bool (*wanted)(uint32_t type),
                           void (*found)(const struct virtio_device *model))
{
    const struct pf_acpi_info *acpi = pf_acpi();
    bool microvm = acpi->present ? acpi->hardware_reduced : pf_pci_count() == 0;
    if (!microvm) {
        return;
    }
    unsigned count = acpi->present ? MICROVM_WITH_ACPI : MICROVM_NO_ACPI;
    unsigned gsi = !acpi->present ? 5 : acpi->ioapic_count > 1 ? acpi->ioapic[1].gsi_base : 16;
    volatile uint8_t *regs = pf_map_device(MICROVM_BASE, (size_t)count * MICROVM_STEP,
                                           PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    if (!regs) {
        log_error("virtio", "no memory to map the mmio window at 0x%llx", MICROVM_BASE);
        return;
    }
    // QEMU fills the bus from the top; the order given on its command line is top down.
    for (unsigned i = count; i-- > 0;) {
        try_transport(regs + (size_t)i * MICROVM_STEP, MICROVM_BASE + (uint64_t)i * MICROVM_STEP,
                      gsi + i, wanted, found);
    }
}

void virtio_mmio_probe(bool (*wanted)(uint32_t type),
                       void (*found)(const struct virtio_device *model))
{
    const char *cursor = pf_boot_info()->cmdline;
    struct mmio_entry e;
    unsigned seen = 0;
    int rc;
    while (seen < MAX_TRANSPORTS && (rc = mmio_cmdline_next(&cursor, &e)) != 0) {
        if (rc < 0) {
            log_warn("virtio", "ignoring a malformed virtio_mmio.device= on the command line");
            continue;
        }
        seen++;
        volatile uint8_t *regs =
            pf_map_device(e.base, (size_t)e.bytes, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
        if (!regs) {
            log_error("virtio", "no memory to map mmio 0x%llx", (unsigned long long)e.base);
            continue;
        }
        try_transport(regs, e.base, e.gsi, wanted, found);
    }
    if (seen == 0) {
        microvm_window(wanted, found);
    }
}
