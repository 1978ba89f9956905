// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Packed virtqueues: one ring that both sides write; two flag bits and the lap's parity tell whose
// a descriptor is. Source: virtio 1.2, 2.8.
#include "libos/virtio/queue.h"

// Event suppression (2.8.14): le16 offset | wrap << 15, le16 flags.
#define EVENT_POSITION 0
#define EVENT_FLAGS    2
#define EVENT_ENABLE   0u
#define EVENT_DISABLE  1u
#define EVENT_INDEX    2u
#define EVENT_WRAP     (1u << 15)

static struct vq_descriptor *at(const struct vq *q, uint16_t position)
{
    return (struct vq_descriptor *)(void *)q->desc + position;
}

void vq_packed_init(struct vq *q)
{
    (void)q; // all zero: no descriptor is available or used on the first lap (parity 1)
}

static void advance(const struct vq *q, uint16_t *position, bool *wrap, unsigned by)
{
    unsigned next = *position + by;
    if (next >= q->config.size) {
        next -= q->config.size;
        *wrap = !*wrap;
    }
    *position = (uint16_t)next;
}

// 2.8.1: available is AVAIL = parity, USED = its inverse.
static uint16_t available_bits(bool wrap)
{
    return wrap ? VQ_AVAIL : VQ_USED;
}

void vq_packed_add(struct vq *q, const struct vq_segment *segments, unsigned readable,
                   unsigned writable, bool indirect, void *token, uint32_t bytes)
{
    unsigned count = readable + writable;
    uint16_t id = q->free_head;
    struct vq_slot *slot = &q->config.slots[id];
    struct vq_descriptor *head = at(q, q->avail);
    uint16_t head_flags = 0;

    if (indirect) {
        uint64_t phys;
        struct vq_descriptor *entries = vq_table(q, id, &phys);
        for (unsigned i = 0; i < count; i++) {
            // 2.8.8: in a table only WRITE counts; order is position.
            entries[i] = (struct vq_descriptor){segments[i].phys, segments[i].bytes, 0,
                                                i >= readable ? VQ_WRITE : 0};
        }
        head->address = phys;
        head->bytes = count * (uint32_t)sizeof(*entries);
        head->flags_or_id = id;
        head_flags = (uint16_t)(VQ_INDIRECT | available_bits(q->avail_wrap));
        advance(q, &q->avail, &q->avail_wrap, 1);
    } else {
        for (unsigned i = 0; i < count; i++) {
            struct vq_descriptor *d = at(q, q->avail);
            uint16_t flags =
                (uint16_t)(available_bits(q->avail_wrap) | (i >= readable ? VQ_WRITE : 0) |
                           (i + 1 < count ? VQ_NEXT : 0));
            d->address = segments[i].phys;
            d->bytes = segments[i].bytes;
            d->flags_or_id = id;
            if (i == 0) {
                head_flags = flags;
            } else {
                vq_store16(&d->next_or_flags, flags);
            }
            advance(q, &q->avail, &q->avail_wrap, 1);
        }
    }
    q->free_head = slot->next;
    slot->token = token;
    slot->writable = bytes;
    slot->descriptors = (uint16_t)(indirect ? 1 : count);
    // The head's flags last, with release: the device may take the chain the moment it sees them.
    vq_store16(&head->next_or_flags, head_flags);
}

bool vq_packed_kick_needed(struct vq *q)
{
    uint16_t flags = vq_load16(q->device + EVENT_FLAGS) & 3u;
    if (flags != EVENT_INDEX || !q->config.event_index) {
        return flags != EVENT_DISABLE;
    }
    // Positions lie on a circle of two laps, the second lap being the one of parity 0. Notify if
    // the device's position is among the `unkicked` just filled.
    uint16_t event = vq_load16(q->device + EVENT_POSITION);
    unsigned size = q->config.size, circle = 2 * size;
    unsigned wanted = (event & (EVENT_WRAP - 1u)) + (event & EVENT_WRAP ? 0 : size);
    if (wanted >= circle) {
        return true; // nonsense; a notification too many does no harm
    }
    unsigned now = q->avail + (q->avail_wrap ? 0 : size);
    unsigned old = (now + circle - q->unkicked) % circle;
    return (wanted + circle - old) % circle < q->unkicked;
}

bool vq_packed_has_used(const struct vq *q)
{
    uint16_t flags = vq_load16(&at(q, q->used)->next_or_flags); // acquire
    bool avail = flags & VQ_AVAIL, used = flags & VQ_USED;
    return avail == used && used == q->used_wrap;
}

void *vq_packed_take(struct vq *q, uint32_t *written)
{
    if (!vq_packed_has_used(q)) {
        return NULL;
    }
    const struct vq_descriptor *d = at(q, q->used);
    uint16_t id = vq_load16(&d->flags_or_id), descriptors;
    uint32_t bytes = vq_load32(&d->bytes);
    void *token = vq_complete(q, id, bytes, &descriptors);
    if (!token) {
        return NULL;
    }
    q->config.slots[id].next = q->free_head;
    q->free_head = id;
    advance(q, &q->used, &q->used_wrap, descriptors);
    *written = bytes;
    return token;
}

void vq_packed_interrupts(struct vq *q, bool on)
{
    if (!on) {
        vq_store16(q->driver + EVENT_FLAGS, EVENT_DISABLE);
        return;
    }
    if (q->config.event_index) {
        vq_store16(q->driver + EVENT_POSITION,
                   (uint16_t)(q->used | (q->used_wrap ? EVENT_WRAP : 0)));
        vq_store16(q->driver + EVENT_FLAGS, EVENT_INDEX); // release: after the position
    } else {
        vq_store16(q->driver + EVENT_FLAGS, EVENT_ENABLE);
    }
}
