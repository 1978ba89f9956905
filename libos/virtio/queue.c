// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What split and packed virtqueues have in common: sizes, argument checks, the shadow of what is
// in flight. Source: virtio 1.2, 2.6.
#include "libos/virtio/queue.h"

#include <errno.h>
#include <string.h>

// Split: descriptors, then the driver area (flags, idx, ring, used_event), then the device area
// (flags, idx, ring of 8-byte elements, avail_event), 4-aligned. Packed: descriptors, then the two
// event suppression structures of 4 bytes. Indirect tables follow, 16-aligned.
static size_t driver_offset(uint16_t size)
{
    return (size_t)size * 16;
}

static size_t device_offset(bool packed, uint16_t size)
{
    size_t bytes = packed ? 4 : 6 + (size_t)size * 2;
    return (driver_offset(size) + bytes + 3) & ~(size_t)3;
}

static size_t tables_offset(bool packed, uint16_t size)
{
    size_t bytes = packed ? 4 : 6 + (size_t)size * 8;
    return (device_offset(packed, size) + bytes + 15) & ~(size_t)15;
}

size_t vq_ring_bytes(bool packed, uint16_t size, uint16_t indirect)
{
    if (size == 0 || size > VQ_MAX_SIZE || (!packed && (size & (size - 1))) ||
        indirect > VQ_MAX_INDIRECT) {
        return 0;
    }
    return tables_offset(packed, size) + (size_t)size * indirect * 16;
}

int vq_init(struct vq *q, const struct vq_config *config)
{
    size_t bytes = vq_ring_bytes(config->packed, config->size, config->indirect);
    if (bytes == 0 || !config->ring || !config->slots || ((uintptr_t)config->ring & 15) ||
        (config->ring_phys & 15)) {
        return -EINVAL;
    }
    size_t driver = driver_offset(config->size);
    size_t device = device_offset(config->packed, config->size);
    size_t tables = tables_offset(config->packed, config->size);
    memset(config->ring, 0, bytes);
    *q = (struct vq){
        .config = *config,
        .desc = config->ring,
        .driver = (uint8_t *)config->ring + driver,
        .device = (uint8_t *)config->ring + device,
        .tables = (uint8_t *)config->ring + tables,
        .desc_phys = config->ring_phys,
        .driver_phys = config->ring_phys + driver,
        .device_phys = config->ring_phys + device,
        .tables_phys = config->ring_phys + tables,
        .free = config->size,
        .avail_wrap = true,
        .used_wrap = true,
    };
    for (unsigned i = 0; i < config->size; i++) {
        config->slots[i] = (struct vq_slot){.next = (uint16_t)(i + 1)};
    }
    if (config->packed) {
        vq_packed_init(q);
    } else {
        vq_split_init(q);
    }
    return 0;
}

void *vq_broken(struct vq *q, const char *why)
{
    if (!q->broken) {
        q->broken = why;
    }
    return NULL;
}

int vq_add(struct vq *q, const struct vq_segment *segments, unsigned readable, unsigned writable,
           void *token)
{
    if (q->broken) {
        return -EIO;
    }
    unsigned count = readable + writable;
    if (!token || count == 0 || readable > VQ_MAX_SIZE || writable > VQ_MAX_SIZE) {
        return -EINVAL;
    }
    uint64_t total = 0, writable_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (segments[i].bytes == 0) {
            return -EINVAL;
        }
        total += segments[i].bytes;
        writable_bytes += i >= readable ? segments[i].bytes : 0;
    }
    // 2.7.5.2: a chain is at most 2^32 bytes.
    if (total > UINT32_MAX) {
        return -EINVAL;
    }
    bool indirect = count > 1 && count <= q->config.indirect;
    unsigned needed = indirect ? 1 : count;
    if (needed > q->config.size) {
        return -EINVAL;
    }
    if (needed > q->free) {
        return -ENOSPC;
    }
    if (q->config.packed) {
        vq_packed_add(q, segments, readable, writable, indirect, token, (uint32_t)writable_bytes);
    } else {
        vq_split_add(q, segments, readable, writable, indirect, token, (uint32_t)writable_bytes);
    }
    q->free = (uint16_t)(q->free - needed);
    unsigned unkicked = q->unkicked + (q->config.packed ? needed : 1);
    q->unkicked = (uint16_t)(unkicked > VQ_MAX_SIZE ? VQ_MAX_SIZE : unkicked);
    q->in_flight++;
    q->added++;
    return 0;
}

void *vq_complete(struct vq *q, uint32_t id, uint32_t bytes, uint16_t *descriptors)
{
    if (id >= q->config.size) {
        return vq_broken(q, "used id out of range");
    }
    struct vq_slot *slot = &q->config.slots[id];
    if (!slot->token) {
        return vq_broken(q, "used id that is not in flight");
    }
    if (bytes > slot->writable) {
        return vq_broken(q, "used length larger than the buffer");
    }
    void *token = slot->token;
    *descriptors = slot->descriptors;
    slot->token = NULL;
    q->free = (uint16_t)(q->free + slot->descriptors);
    q->in_flight--;
    q->taken++;
    return token;
}

struct vq_descriptor *vq_table(struct vq *q, uint16_t id, uint64_t *phys)
{
    size_t offset = (size_t)id * q->config.indirect * sizeof(struct vq_descriptor);
    *phys = q->tables_phys + offset;
    return (struct vq_descriptor *)(void *)(q->tables + offset);
}

bool vq_kick_needed(struct vq *q)
{
    if (q->broken || q->unkicked == 0) {
        return false;
    }
    // 2.7.13.4.1: the index (or flags) must be visible before the device's wish is read. Stores may
    // pass later loads on x86, so this has to be a full fence.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool needed = q->unkicked > q->config.size ||
                  (q->config.packed ? vq_packed_kick_needed(q) : vq_split_kick_needed(q));
    q->unkicked = 0;
    return needed;
}

void *vq_take(struct vq *q, uint32_t *written)
{
    *written = 0;
    if (q->broken) {
        return NULL;
    }
    return q->config.packed ? vq_packed_take(q, written) : vq_split_take(q, written);
}

bool vq_has_used(const struct vq *q)
{
    if (q->broken) {
        return false;
    }
    return q->config.packed ? vq_packed_has_used(q) : vq_split_has_used(q);
}

static void set_interrupts(struct vq *q, bool on)
{
    if (q->config.packed) {
        vq_packed_interrupts(q, on);
    } else {
        vq_split_interrupts(q, on);
    }
}

bool vq_interrupts_on(struct vq *q)
{
    set_interrupts(q, true);
    // Our wish must be visible before we look a last time (2.7.7.1 asks the mirror image of the
    // device).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vq_has_used(q);
}

void vq_interrupts_off(struct vq *q)
{
    set_interrupts(q, false);
}
