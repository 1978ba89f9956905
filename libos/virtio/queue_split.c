// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Split virtqueues: descriptor table, available ring (ours), used ring (the device's).
// Source: virtio 1.2, 2.7.
#include "libos/virtio/queue.h"

// Driver area: flags, idx, ring[size], used_event. Device area: flags, idx, {id, len}[size],
// avail_event. All of two bytes but the used elements.
#define AREA_FLAGS          0
#define AREA_INDEX          2
#define AREA_RING           4
#define AVAIL_NO_INTERRUPT  1u
#define USED_NO_NOTIFY      1u
#define USED_ELEMENT        8u
#define avail_entry(q, i)   ((q)->driver + AREA_RING + 2u * ((i) & ((q)->config.size - 1u)))
#define avail_used_event(q) ((q)->driver + AREA_RING + 2u * (q)->config.size)
#define used_entry(q, i)    ((q)->device + AREA_RING + USED_ELEMENT * ((i) & ((q)->config.size - 1u)))
#define used_avail_event(q) ((q)->device + AREA_RING + USED_ELEMENT * (q)->config.size)

void vq_split_init(struct vq *q)
{
    (void)q; // all zero is an empty ring
}

static void write_descriptor(struct vq_descriptor *d, const struct vq_segment *s, bool writable,
                             bool last, uint16_t next)
{
    d->address = s->phys;
    d->bytes = s->bytes;
    d->flags_or_id = (uint16_t)((writable ? VQ_WRITE : 0) | (last ? 0 : VQ_NEXT));
    d->next_or_flags = last ? 0 : next;
}

void vq_split_add(struct vq *q, const struct vq_segment *segments, unsigned readable,
                  unsigned writable, bool indirect, void *token, uint32_t bytes)
{
    struct vq_descriptor *table = (struct vq_descriptor *)(void *)q->desc;
    struct vq_slot *slots = q->config.slots;
    unsigned count = readable + writable;
    uint16_t head = q->free_head;

    if (indirect) {
        uint64_t phys;
        struct vq_descriptor *entries = vq_table(q, head, &phys);
        for (unsigned i = 0; i < count; i++) {
            write_descriptor(&entries[i], &segments[i], i >= readable, i + 1 == count,
                             (uint16_t)(i + 1));
        }
        table[head].address = phys;
        table[head].bytes = count * (uint32_t)sizeof(*entries);
        table[head].flags_or_id = VQ_INDIRECT;
        table[head].next_or_flags = 0;
        q->free_head = slots[head].next;
        slots[head].descriptors = 1;
    } else {
        uint16_t at = head;
        for (unsigned i = 0; i < count; i++) {
            uint16_t next = slots[at].next; // the private list, not the ring's
            write_descriptor(&table[at], &segments[i], i >= readable, i + 1 == count, next);
            if (i + 1 == count) {
                q->free_head = next;
            }
            at = next;
        }
        slots[head].descriptors = (uint16_t)count;
    }
    slots[head].token = token;
    slots[head].writable = bytes;

    vq_store16(avail_entry(q, q->avail), head);
    q->avail++;
    // Release: descriptors and ring entry before the index (2.7.13.3.1).
    vq_store16(q->driver + AREA_INDEX, q->avail);
}

bool vq_split_kick_needed(struct vq *q)
{
    if (!q->config.event_index) {
        return !(vq_load16(q->device + AREA_FLAGS) & USED_NO_NOTIFY);
    }
    // 2.7.10.1: notify if avail_event lies in [avail - unkicked, avail), modulo 2^16.
    uint16_t event = vq_load16(used_avail_event(q));
    uint16_t old = (uint16_t)(q->avail - q->unkicked);
    return (uint16_t)(event - old) < q->unkicked;
}

bool vq_split_has_used(const struct vq *q)
{
    return vq_load16(q->device + AREA_INDEX) != q->used;
}

void *vq_split_take(struct vq *q, uint32_t *written)
{
    uint16_t pending = (uint16_t)(vq_load16(q->device + AREA_INDEX) - q->used); // acquire
    if (pending == 0) {
        return NULL;
    }
    if (pending > q->in_flight) {
        return vq_broken(q, "used index jumped past what is in flight");
    }
    const uint8_t *element = used_entry(q, q->used);
    uint32_t id = vq_load32(element), bytes = vq_load32(element + 4);
    uint16_t descriptors;
    void *token = vq_complete(q, id, bytes, &descriptors);
    if (!token) {
        return NULL;
    }
    // Give the chain's descriptors back: walk the private links to its last one.
    struct vq_slot *slots = q->config.slots;
    uint16_t last = (uint16_t)id;
    for (unsigned i = 1; i < descriptors; i++) {
        last = slots[last].next;
    }
    slots[last].next = q->free_head;
    q->free_head = (uint16_t)id;
    q->used++;
    *written = bytes;
    return token;
}

void vq_split_interrupts(struct vq *q, bool on)
{
    if (q->config.event_index) {
        // Interrupt when the used index passes this one; the one just passed means "not soon".
        vq_store16(avail_used_event(q), on ? q->used : (uint16_t)(q->used - 1));
    } else {
        vq_store16(q->driver + AREA_FLAGS, (uint16_t)(on ? 0 : AVAIL_NO_INTERRUPT));
    }
}
