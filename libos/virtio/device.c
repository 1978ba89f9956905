// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The life of a virtio device: reset, feature negotiation, queues, DRIVER_OK, failure.
// Source: virtio 1.2, 2.1, 2.2, 2.5, 3.1.
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "libos/mem.h"
#include "platform/cpu.h"
#include "platform/time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_TRIES 64

int virtio_reset(struct virtio_device *d)
{
    d->ops->set_status(d, 0);
    uint64_t deadline = pf_now_ns() + VIRTIO_RESET_TIMEOUT_NS;
    while (d->ops->status(d) != 0) {
        if (pf_now_ns() > deadline) {
            return -ETIMEDOUT;
        }
        pf_pause();
    }
    return 0;
}

static void add_status(struct virtio_device *d, uint8_t bits)
{
    d->ops->set_status(d, (uint8_t)(d->ops->status(d) | bits));
}

void virtio_fail(struct virtio_device *d, const char *why)
{
    if (d->broken) {
        return;
    }
    d->broken = why;
    log_error("virtio", "%s (%s) is out of service: %s", d->name, d->location, why);
    add_status(d, VIRTIO_STATUS_FAILED);
    if (d->ops->isolate) {
        d->ops->isolate(d);
    }
}

bool virtio_healthy(struct virtio_device *d)
{
    if (d->broken) {
        return false;
    }
    uint8_t status = d->ops->status(d);
    if (status == 0xff) {
        virtio_fail(d, "device vanished");
    } else if (status & VIRTIO_STATUS_NEEDS_RESET) {
        virtio_fail(d, "device met an error and needs a reset");
    } else if (!(status & VIRTIO_STATUS_DRIVER_OK)) {
        virtio_fail(d, "device reset itself");
    }
    return !d->broken;
}

int virtio_start(struct virtio_device *d, uint64_t wanted, uint64_t required)
{
    d->broken = NULL;
    int rc = virtio_reset(d);
    if (rc) {
        virtio_fail(d, "does not reset");
        return rc;
    }
    add_status(d, VIRTIO_STATUS_ACKNOWLEDGE);
    add_status(d, VIRTIO_STATUS_DRIVER);
    d->offered = d->ops->features(d, 0) | (uint64_t)d->ops->features(d, 1) << 32;
    if (!(d->offered & VIRTIO_F_VERSION_1)) {
        virtio_fail(d, "offers no VIRTIO_F_VERSION_1 (legacy device)");
        return -ENOTSUP;
    }
    if ((d->offered & required) != required) {
        virtio_fail(d, "lacks a feature that the driver cannot do without");
        return -ENOTSUP;
    }
    // ACCESS_PLATFORM and ORDER_PLATFORM must be accepted where offered: addresses are physical and
    // no IOMMU is switched on, and fences here are real ones.
    d->features =
        d->offered & (wanted | required | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM |
                      VIRTIO_F_ORDER_PLATFORM | VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);
    d->ops->set_features(d, 0, (uint32_t)d->features);
    d->ops->set_features(d, 1, (uint32_t)(d->features >> 32));
    add_status(d, VIRTIO_STATUS_FEATURES_OK);
    // 3.1.1, step 6: the device clears the bit again if it cannot live with the choice.
    if (!(d->ops->status(d) & VIRTIO_STATUS_FEATURES_OK)) {
        virtio_fail(d, "refuses our choice of features");
        return -ENOTSUP;
    }
    return 0;
}

void virtio_interrupts(struct virtio_device *d, unsigned queues)
{
    int rc = d->ops->interrupts(d, queues);
    d->polled = rc < 0;
    if (d->polled) {
        d->vectors = 0;
        log_warn("virtio", "%s (%s): no interrupts (error %d), polled every %llu us", d->name,
                 d->location, -rc, (unsigned long long)VIRTIO_POLL_NS / 1000);
    }
}

static void release(struct vq_config *c)
{
    if (c->ring) {
        mem_zone_free(c->ring);
    }
    free(c->slots);
}

int virtio_queue_start(struct virtio_device *d, unsigned index, uint16_t size, uint16_t indirect,
                       struct vq *q)
{
    if (index >= VIRTIO_MAX_QUEUES) {
        return -ENOENT;
    }
    bool packed = virtio_has(d, VIRTIO_F_RING_PACKED);
    uint16_t max = d->ops->queue_max(d, index);
    if (max == 0 || max > VQ_MAX_SIZE) {
        return -ENOENT;
    }
    size = size < max ? size : max;
    while (!packed && (size & (size - 1))) {
        size = (uint16_t)(size & (size - 1)); // 2.7: a power of two
    }
    indirect = virtio_has(d, VIRTIO_F_INDIRECT_DESC) ? indirect : 0;

    struct vq_config config = q->config;
    bool reuse = config.ring && config.packed == packed && config.size == size &&
                 config.indirect == indirect;
    if (!reuse) {
        release(&config);
        config.ring = mem_zone_alloc(MEM_DMA, vq_ring_bytes(packed, size, indirect));
        config.slots = calloc(size, sizeof(*config.slots));
    }
    config.packed = packed;
    config.event_index = virtio_has(d, VIRTIO_F_EVENT_IDX);
    config.size = size;
    config.indirect = indirect;
    if (config.ring && config.slots) {
        config.ring_phys = mem_phys(config.ring);
    }
    if (!config.ring || !config.slots || vq_init(q, &config) != 0) {
        release(&config);
        memset(q, 0, sizeof(*q));
        return -ENOMEM;
    }
    if (d->queue_count <= index) {
        d->queue_count = index + 1;
    }
    return d->ops->queue_enable(d, index, q);
}

int virtio_ready(struct virtio_device *d)
{
    add_status(d, VIRTIO_STATUS_DRIVER_OK);
    return virtio_healthy(d) ? 0 : -EIO;
}

int virtio_config_read(struct virtio_device *d, unsigned offset, void *out, unsigned count,
                       unsigned width)
{
    for (int tries = 0; tries < CONFIG_TRIES; tries++) {
        uint32_t before = d->ops->generation(d);
        for (unsigned i = 0; i < count; i++) {
            uint32_t field = d->ops->config(d, offset + i * width, width);
            memcpy((uint8_t *)out + (size_t)i * width, &field, width); // little-endian, as x86
        }
        if (d->ops->generation(d) == before) {
            return 0;
        }
    }
    return -EIO;
}

void virtio_kick(struct virtio_device *d, unsigned index, struct vq *q)
{
    if (vq_kick_needed(q)) {
        d->ops->notify(d, index);
    }
}

VIRTIO_IRQ static void queues_fired(struct virtio_device *d)
{
    if (d->on_queue) {
        d->on_queue(d->driver);
    }
}

VIRTIO_IRQ static void config_fired(struct virtio_device *d)
{
    __atomic_store_n(&d->config_changed, 1, __ATOMIC_RELEASE);
    if (d->on_config) {
        d->on_config(d->driver);
    }
}

VIRTIO_IRQ void virtio_line_interrupt(void *arg)
{
    const struct virtio_line *line = arg;
    struct virtio_device *d = line->device;
    d->interrupts++;
    if (line->queue != VIRTIO_LINE_CONFIG) {
        queues_fired(d);
    }
    if (line->queue == VIRTIO_LINE_CONFIG || line->queue == VIRTIO_LINE_ALL) {
        config_fired(d);
    }
}

void virtio_poll_all(struct virtio_device *d)
{
    queues_fired(d);
}
