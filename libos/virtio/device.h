// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A virtio device as its driver sees it, whatever the transport: life cycle, features,
// configuration, queues, interrupts. Source: virtio 1.2, 2.1–2.6 and 3.1.
#ifndef LIBOS_VIRTIO_DEVICE_H
#define LIBOS_VIRTIO_DEVICE_H

#include "libos/virtio.h"
#include "libos/virtio/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_MAX_QUEUES 18u // 8 network pairs and their control queue

enum virtio_type {
    VIRTIO_NET = 1,
    VIRTIO_BLK = 2,
    VIRTIO_RNG = 4,
    VIRTIO_PMEM = 27,
};

// 2.1
#define VIRTIO_STATUS_ACKNOWLEDGE 1u
#define VIRTIO_STATUS_DRIVER      2u
#define VIRTIO_STATUS_DRIVER_OK   4u
#define VIRTIO_STATUS_FEATURES_OK 8u
#define VIRTIO_STATUS_NEEDS_RESET 64u
#define VIRTIO_STATUS_FAILED      128u

// 6: feature bits of no device in particular.
#define VIRTIO_F(bit)            (1ull << (bit))
#define VIRTIO_F_INDIRECT_DESC   VIRTIO_F(28)
#define VIRTIO_F_EVENT_IDX       VIRTIO_F(29)
#define VIRTIO_F_VERSION_1       VIRTIO_F(32)
#define VIRTIO_F_ACCESS_PLATFORM VIRTIO_F(33)
#define VIRTIO_F_RING_PACKED     VIRTIO_F(34)
#define VIRTIO_F_ORDER_PLATFORM  VIRTIO_F(36)

#define VIRTIO_RESET_TIMEOUT_NS (100ull * 1000 * 1000)
#define VIRTIO_POLL_NS          (1000ull * 1000) // between looks where there are no interrupts

// Code that runs in an interrupt: the interrupted strand's vector registers are live.
#ifdef TESSERA_GUEST
#define VIRTIO_IRQ __attribute__((target("general-regs-only")))
#else
#define VIRTIO_IRQ
#endif

struct virtio_device;

// What a transport does. Every access is one register access; nothing here waits.
struct virtio_ops {
    const char *kind; // "pci", "mmio"
    uint8_t (*status)(struct virtio_device *d);
    void (*set_status)(struct virtio_device *d, uint8_t status);
    uint32_t (*features)(struct virtio_device *d, unsigned word);
    void (*set_features)(struct virtio_device *d, unsigned word, uint32_t bits);
    uint32_t (*generation)(struct virtio_device *d);
    // width 1, 2 or 4; all-ones beyond the device's configuration space.
    uint32_t (*config)(struct virtio_device *d, unsigned offset, unsigned width);
    uint16_t (*queue_max)(struct virtio_device *d, unsigned index); // 0: no such queue
    int (*queue_enable)(struct virtio_device *d, unsigned index, const struct vq *q);
    void (*notify)(struct virtio_device *d, unsigned index);
    // Cuts the device off from memory, if the transport can (may be NULL).
    void (*isolate)(struct virtio_device *d);
    // Claims interrupt lines for `queues` queues and configuration changes; a negative errno means
    // that this device has to be polled.
    int (*interrupts)(struct virtio_device *d, unsigned queues);
};

// An interrupt line and what it stands for. `queue` is an index or one of these.
#define VIRTIO_LINE_CONFIG (-1)
#define VIRTIO_LINE_QUEUES (-2) // all queues
#define VIRTIO_LINE_ALL    (-3) // all queues and the configuration
struct virtio_line {
    struct virtio_device *device;
    int queue;
};

struct virtio_device {
    const struct virtio_ops *ops;
    uint32_t type;     // enum virtio_type
    char name[20];     // "virtio-net0"
    char location[24]; // "pci 00:02.0", "mmio 0xfeb00e00"
    uint64_t offered, features;
    const char *broken;      // NULL, or why it is out of service
    bool polled;             // no interrupts
    unsigned vectors;        // interrupt lines in use
    uint32_t config_changed; // atomic; set by the interrupt, cleared by the driver
    uint64_t interrupts;     // taken; owner: the CPU the lines go to

    // Called in interrupt context (rules of platform/irq.h); set before virtio_ready.
    void (*on_queue)(void *driver); // some queue may have used chains
    void (*on_config)(void *driver);
    void *driver;
    unsigned queue_count; // started
    struct virtio_line lines[VIRTIO_MAX_QUEUES + 1];

    union {
        struct {
            struct pf_pci_device *pci;
            volatile uint8_t *common, *notify, *config;
            uint32_t notify_bytes, notify_multiplier, config_bytes;
            volatile uint16_t *doorbell[VIRTIO_MAX_QUEUES];
            uint16_t queue_vector[VIRTIO_MAX_QUEUES], config_vector;
        } pci;
        struct {
            volatile uint8_t *regs;
            unsigned gsi;
            bool has_gsi;
        } mmio;
        void *fake; // tests
    };
};

// Resets and negotiates: of what is offered takes `wanted` plus what every driver here wants
// (VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM, RING_PACKED, EVENT_IDX). `required` must be among
// the offered. Leaves the device in FEATURES_OK.
// 0, -ENOTSUP (no VERSION_1, features refused), -ETIMEDOUT (reset), -EIO.
int virtio_start(struct virtio_device *d, uint64_t wanted, uint64_t required);
// Interrupt lines for queues [0, queues); after virtio_start, before the first virtio_queue_start.
void virtio_interrupts(struct virtio_device *d, unsigned queues);
// Makes queue `index` of at most `size` descriptors (rounded down to what the device takes), its
// memory from the DMA zone; a queue started before (device reset) keeps its memory. indirect: as
// vq_config, used if VIRTIO_F_INDIRECT_DESC was negotiated. 0, -ENOENT, -ENOMEM, -EIO.
int virtio_queue_start(struct virtio_device *d, unsigned index, uint16_t size, uint16_t indirect,
                       struct vq *q);
// DRIVER_OK: the device lives from here on.
int virtio_ready(struct virtio_device *d);
// Status 0, waits until the device has let go of all memory. 0 or -ETIMEDOUT.
int virtio_reset(struct virtio_device *d);
// Out of service for good: logs why, tells the device (FAILED), cuts it off from memory.
void virtio_fail(struct virtio_device *d, const char *why);
// Looks whether the device asked for a reset (2.1.1) or vanished; true if it is fit to use.
bool virtio_healthy(struct virtio_device *d);

static inline bool virtio_has(const struct virtio_device *d, uint64_t feature)
{
    return (d->features & feature) != 0;
}
// Reads `count` fields of `width` bytes (1, 2, 4) from `offset` into out, all of one generation
// (2.5.3). 0 or -EIO if the configuration never stays still.
int virtio_config_read(struct virtio_device *d, unsigned offset, void *out, unsigned count,
                       unsigned width);
// Rings queue `index`'s doorbell if the device wants it.
void virtio_kick(struct virtio_device *d, unsigned index, struct vq *q);

// Interrupt entry points for the transports.
void virtio_line_interrupt(void *line);
void virtio_poll_all(struct virtio_device *d); // as if every line had fired

// Drivers: take over a device found by a transport. 0, or a negative errno after logging why.
int virtio_net_probe(struct virtio_device *d);
int virtio_blk_probe(struct virtio_device *d);
int virtio_rng_probe(struct virtio_device *d);
int virtio_pmem_probe(struct virtio_device *d);
// Why a region of memory that a device names cannot be mapped; NULL: it can.
const char *pmem_check(uint64_t start, uint64_t bytes);
void ivshmem_probe(void);      // finds ivshmem-plain regions (libos/ivshmem.h)
void pmem_probe_ivshmem(void); // adds those that hold weights; after the others

// Transports: call found() for every device whose type a driver here wants.
// Every device of a wanted type; others are not touched.
void virtio_pci_probe(bool (*wanted)(uint32_t type),
                      void (*found)(const struct virtio_device *model));
void virtio_mmio_probe(bool (*wanted)(uint32_t type),
                       void (*found)(const struct virtio_device *model));

#endif
