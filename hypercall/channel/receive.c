// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The receiving side of a channel. A descriptor is copied once and checked; from then on only the
// copy counts.
#include "hypercall/channel/internal.h"

#include <string.h>

static void copy_tensor(const struct hc_channel_tensor *from, struct hc_channel_tensor *to)
{
    uint64_t words[sizeof(*to) / 8];
    const uint64_t *at = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof(words) / 8; i++) {
        words[i] = __atomic_load_n(&at[i], __ATOMIC_RELAXED);
    }
    memcpy(to, words, sizeof(words));
}

// A descriptor that was taken from position `at`.
static int accept_tensor(struct channel *c, const struct hc_channel_tensor *wire, uint64_t at,
                         struct channel_tensor *t)
{
    struct lane *l = &c->in;
    uint64_t start = (uint64_t)(c->in_data - c->block), bytes;
    uint64_t slot = (wire->offset - start) / c->format.slot_bytes;
    if (wire->sequence != at) {
        return channel_violation(c, l, "tensor %llu came in place %llu",
                                 (unsigned long long)wire->sequence, (unsigned long long)at);
    }
    if (wire->offset < start || slot >= c->format.slots ||
        (wire->offset - start) % c->format.slot_bytes) {
        return channel_violation(c, l, "offset 0x%llx is no slot",
                                 (unsigned long long)wire->offset);
    }
    if (channel_tensor_bytes(wire->type, wire->dims, wire->shape, &bytes) || bytes != wire->bytes ||
        bytes > c->format.slot_bytes) {
        return channel_violation(c, l, "type %u, %u dims, %llu bytes is no tensor", wire->type,
                                 wire->dims, (unsigned long long)wire->bytes);
    }
    if (c->in_slots[slot].state != SLOT_AWAY) {
        return channel_violation(c, l, "it sent slot %u, which it does not have", (unsigned)slot);
    }
    c->in_slots[slot].state = SLOT_HELD;
    c->held++;
    *t = (struct channel_tensor){.type = wire->type,
                                 .dims = wire->dims,
                                 .tag = wire->tag,
                                 .data = c->block + wire->offset,
                                 .bytes = bytes,
                                 .room = c->format.slot_bytes,
                                 .slot = (uint32_t)slot,
                                 .serial = c->serial};
    memcpy(t->shape, wire->shape, sizeof(t->shape));
    return 0;
}

// 0, -EAGAIN (nothing there), or what ended the session.
static int take(struct channel *c, struct channel_tensor *t)
{
    struct lane *l = &c->in;
    struct hc_channel_tensor wire;
    uint64_t there = load64(&l->source->tail) - l->position;
    if (there == 0) {
        return -EAGAIN;
    }
    if (there > c->format.slots) {
        return channel_violation(c, l, "%llu tensors are under way in %u slots",
                                 (unsigned long long)there, c->format.slots);
    }
    copy_tensor(&l->tensors[l->position % c->format.slots], &wire);
    int e = accept_tensor(c, &wire, l->position, t);
    if (e == 0) {
        store64(&l->sink->head, ++l->position);
    }
    return e;
}

// The same of a RING, whose sender may take the head away.
static int take_newest(struct channel *c, struct channel_tensor *t)
{
    struct lane *l = &c->in;
    struct hc_channel_tensor wire;
    for (uint32_t tries = 0; tries < 2 * c->format.slots; tries++) {
        uint64_t head = load64(&l->sink->head), there = load64(&l->source->tail) - head;
        if (head < l->position) {
            return channel_violation(c, l, "the head went back to %llu from %llu",
                                     (unsigned long long)head, (unsigned long long)l->position);
        }
        if (there == 0) {
            return -EAGAIN;
        }
        if (there > c->format.slots) {
            if (load64(&l->sink->head) != head) {
                continue;
            }
            return channel_violation(c, l, "%llu tensors are unread in %u slots",
                                     (unsigned long long)there, c->format.slots);
        }
        if (c->held >= c->format.slots / 2) {
            return channel_say(c, -ENOBUFS, "%u slots are held", c->held);
        }
        copy_tensor(&l->tensors[head % c->format.slots], &wire);
        uint64_t expected = head;
        if (!__atomic_compare_exchange_n(&l->sink->head, &expected, head + 1, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            continue;
        }
        int e = accept_tensor(c, &wire, head, t);
        if (e == 0) {
            t->lost = head - l->position;
            l->position = head + 1;
        }
        return e;
    }
    return -EAGAIN;
}

static int look(struct channel *c, struct channel_tensor *t)
{
    return c->format.kind == HC_CHANNEL_RING ? take_newest(c, t) : take(c, t);
}

int channel_receive(struct channel *c, uint64_t timeout_ns, struct channel_tensor *t)
{
    struct wait w;
    if (!c->receives) {
        return channel_say(c, -EINVAL, "end %u only sends", c->end);
    }
    int e = channel_begin(c);
    channel_wait_begin(c, &w, timeout_ns);
    while (e == 0) {
        e = channel_check_lanes(c);
        e = e ? e : c->passes ? channel_collect(c) : 0;
        if (e) {
            return e;
        }
        e = look(c, t);
        if (e != -EAGAIN) {
            return e;
        }
        int gone = channel_lane_gone(c, &c->in);
        if (gone) {
            e = look(c, t); // what it sent before it went
            return e == -EAGAIN ? channel_say_gone(c, &c->in, gone) : e;
        }
        if (c->passes && channel_lane_gone(c, &c->out[0]) == -EPIPE) {
            return channel_say_gone(c, &c->out[0], -EPIPE);
        }
        e = channel_wait_more(&w) ? 0 : channel_say(c, -ETIMEDOUT, "nothing came");
    }
    return e;
}

void channel_give_back(struct channel *c, uint32_t slot)
{
    struct lane *l = &c->in;
    store32(&l->returns[l->returned % c->format.slots], slot);
    store64(&l->sink->returned, ++l->returned);
    // Not for each slot: a sender that waits gets a few at a time, and looks by itself as well.
    if (l->returned % (c->format.slots / 4 + 1) == 0) {
        wake_peer(c, l);
    }
}

int channel_release(struct channel *c, struct channel_tensor *t)
{
    if (c->port.look) {
        c->port.look(c->port.ctx);
    }
    if (c->closed) {
        return c->closed;
    }
    if (t->serial != c->serial || !c->live) {
        return channel_say(c, -ENOTCONN, "the tensor is of a session that has ended");
    }
    bool lent = c->out_count && !c->passes && t->slot < c->format.slots &&
                c->out_slots[t->slot].state == SLOT_LENT &&
                t->data == c->out_data + t->slot * c->format.slot_bytes;
    if (lent) {
        c->out_slots[t->slot].state = SLOT_AWAY;
        c->free_slots[c->free_count++] = t->slot;
        c->lent--;
        t->serial = 0;
        return 0;
    }
    if (!c->receives || t->slot >= c->format.slots || c->in_slots[t->slot].state != SLOT_HELD) {
        return channel_say(c, -EINVAL, "the tensor is not this end's to release");
    }
    // What was read of the slot was read before the session is looked at.
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    int e = channel_check_lanes(c);
    if (e) {
        return e;
    }
    c->in_slots[t->slot].state = SLOT_AWAY;
    c->held--;
    channel_give_back(c, t->slot);
    t->data = NULL;
    t->serial = 0;
    return 0;
}
