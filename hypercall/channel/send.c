// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The sending side of a channel: slots go out full and come back empty.
#include "hypercall/channel/internal.h"

#include <string.h>

void channel_slot_back(struct channel *c, uint32_t slot)
{
    c->out_slots[slot] = (struct slot){.state = SLOT_AWAY};
    c->sent--;
    if (c->passes) {
        c->in_slots[slot].state = SLOT_AWAY;
        channel_give_back(c, slot);
    } else {
        c->free_slots[c->free_count++] = slot;
    }
}

static int collect_lane(struct channel *c, struct lane *l)
{
    bool ring = c->format.kind == HC_CHANNEL_RING;
    uint64_t returned = load64(&l->sink->returned);
    // After `returned`: who gives a slot back has taken it before.
    uint64_t head = ring ? load64(&l->sink->head) : 0;
    if (returned - l->returned > c->format.slots) {
        return channel_violation(c, l, "it gave back %llu slots after %llu",
                                 (unsigned long long)returned, (unsigned long long)l->returned);
    }
    while (l->returned != returned) {
        uint32_t s = load32(&l->returns[l->returned % c->format.slots]);
        if (s >= c->format.slots || c->out_slots[s].state != SLOT_SENT ||
            !(c->out_slots[s].lanes & l->bit) || (ring && c->out_slots[s].position >= head)) {
            return channel_violation(c, l, "it gave back slot %u, which it does not have", s);
        }
        l->returned++;
        c->out_slots[s].lanes = (uint8_t)(c->out_slots[s].lanes & ~l->bit);
        if (c->out_slots[s].lanes == 0) {
            channel_slot_back(c, s);
        }
    }
    return 0;
}

int channel_collect(struct channel *c)
{
    for (uint32_t i = 0; i < c->out_count; i++) {
        int e = c->out[i].session ? collect_lane(c, &c->out[i]) : 0;
        if (e) {
            return e;
        }
    }
    return 0;
}

// A RING's oldest unread tensor gives way. Whoever moves the head has the slot.
static void steal(struct channel *c, struct lane *l)
{
    for (uint32_t tries = 0; tries < 2 * c->format.slots && l->session; tries++) {
        uint64_t head = load64(&l->sink->head);
        if (head > l->position || head < l->seen) {
            channel_violation(c, l, "its head is %llu of %llu", (unsigned long long)head,
                              (unsigned long long)l->position);
            return;
        }
        l->seen = head;
        if (head == l->position) { // all read: it holds the rest
            if (c->sent > c->format.slots / 2) {
                collect_lane(c, l);
            }
            if (l->session && c->sent > c->format.slots / 2) {
                channel_violation(c, l, "it holds %u of %u slots", c->sent, c->format.slots);
            }
            return;
        }
        uint32_t s = c->ring_slots[head % c->format.slots];
        if (c->out_slots[s].state != SLOT_SENT || c->out_slots[s].position != head) {
            channel_violation(c, l, "it gave back slot %u before it was read", s);
            return;
        }
        if (__atomic_compare_exchange_n(&l->sink->head, &head, head + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            l->seen = head + 1;
            channel_slot_back(c, s);
            return;
        }
    }
}

// Whether the receivers are gone; what they gave back before that is collected.
static int out_gone(struct channel *c, int *gone)
{
    if (c->hub) {
        channel_cut_gone(c);
        return 0;
    }
    *gone = channel_lane_gone(c, &c->out[0]);
    return *gone ? channel_collect(c) : 0;
}

static int out_closed(struct channel *c)
{
    if (!c->hub && load32(&c->ends[c->out[0].peer].state) == HC_END_CLOSED) {
        return channel_say_gone(c, &c->out[0], -ESHUTDOWN);
    }
    return 0;
}

static void lend(struct channel *c, struct channel_tensor *t)
{
    uint32_t s = c->free_slots[--c->free_count];
    c->out_slots[s].state = SLOT_LENT;
    c->lent++;
    *t = (struct channel_tensor){.shape = {1, 1, 1, 1},
                                 .dims = 1,
                                 .data = c->out_data + s * c->format.slot_bytes,
                                 .room = c->format.slot_bytes,
                                 .slot = s,
                                 .serial = c->serial};
}

int channel_lend(struct channel *c, uint64_t timeout_ns, struct channel_tensor *t)
{
    struct wait w;
    bool ring = c->format.kind == HC_CHANNEL_RING;
    if (c->out_count == 0 || c->passes) {
        return channel_say(c, -EINVAL, "end %u has no slots of its own", c->end);
    }
    int e = channel_begin(c);
    channel_wait_begin(c, &w, timeout_ns);
    while (e == 0) {
        e = channel_check_lanes(c);
        e = e ? e : out_closed(c);
        e = e ? e : channel_collect(c);
        if (e) {
            break;
        }
        if (ring) {
            channel_cut_gone(c);
        }
        if (ring && c->free_count == 0) {
            steal(c, &c->out[0]);
        }
        if (c->free_count) {
            lend(c, t);
            return 0;
        }
        if (ring) {
            return channel_say(c, -ENOBUFS, "all slots are lent or held");
        }
        int gone = 0;
        e = out_gone(c, &gone);
        if (e == 0 && c->free_count == 0) {
            if (gone) {
                e = channel_say_gone(c, &c->out[0], gone);
            } else if (!channel_wait_more(&w)) {
                e = channel_say(c, -ETIMEDOUT, "all %u slots are under way", c->format.slots);
            }
        }
    }
    return e;
}

static void post(struct channel *c, struct lane *l, const struct hc_channel_tensor *wire)
{
    uint64_t words[sizeof(*wire) / 8];
    memcpy(words, wire, sizeof(words));
    words[0] = l->position;
    uint64_t *to = (uint64_t *)&l->tensors[l->position % c->format.slots];
    for (size_t i = 0; i < sizeof(words) / 8; i++) {
        __atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
    }
    store64(&l->source->tail, ++l->position);
    wake_peer(c, l);
}

static int check_tensor(struct channel *c, const struct channel_tensor *t, uint64_t *bytes)
{
    uint8_t wanted = c->passes ? SLOT_HELD : SLOT_LENT;
    const struct slot *slots = c->passes ? c->in_slots : c->out_slots;
    if (t->serial != c->serial) {
        return channel_say(c, -ENOTCONN, "the tensor is of a session that has ended");
    }
    if (t->slot >= c->format.slots || slots[t->slot].state != wanted) {
        return channel_say(c, -EINVAL, "the tensor is not this end's to send");
    }
    if (channel_tensor_bytes(t->type, t->dims, t->shape, bytes) || *bytes > c->format.slot_bytes) {
        return channel_say(c, -EINVAL, "type %u and shape are no tensor that fits a slot", t->type);
    }
    return 0;
}

int channel_send(struct channel *c, struct channel_tensor *t)
{
    uint64_t bytes;
    if (c->out_count == 0) {
        return channel_say(c, -EINVAL, "end %u only receives", c->end);
    }
    int e = channel_begin(c);
    e = e ? e : check_tensor(c, t, &bytes);
    e = e ? e : channel_check_lanes(c);
    e = e ? e : out_closed(c);
    if (e) {
        return e;
    }
    uint8_t *data = c->out_data + t->slot * c->format.slot_bytes;
    struct hc_channel_tensor wire = {.offset = (uint64_t)(data - c->block),
                                     .bytes = bytes,
                                     .type = (uint16_t)t->type,
                                     .dims = (uint16_t)t->dims,
                                     .tag = t->tag};
    memcpy(wire.shape, t->shape, sizeof(wire.shape));
    struct slot *slot = &c->out_slots[t->slot];
    *slot = (struct slot){.state = SLOT_SENT, .position = c->out[0].position};
    c->sent++;
    if (c->passes) {
        c->in_slots[t->slot].state = SLOT_PASSED;
        c->held--;
    } else {
        c->lent--;
    }
    if (c->format.kind == HC_CHANNEL_RING) {
        c->ring_slots[slot->position % c->format.slots] = t->slot;
    }
    for (uint32_t i = 0; i < c->out_count; i++) {
        if (c->out[i].session) {
            slot->lanes |= c->out[i].bit;
            post(c, &c->out[i], &wire);
        }
    }
    if (slot->lanes == 0) { // nobody listens
        channel_slot_back(c, t->slot);
    }
    t->data = NULL;
    t->serial = 0;
    return 0;
}

int channel_drain(struct channel *c, uint64_t timeout_ns)
{
    struct wait w;
    int e = channel_begin(c);
    channel_wait_begin(c, &w, timeout_ns);
    while (e == 0) {
        e = channel_check_lanes(c);
        e = e ? e : channel_collect(c);
        if (e || c->sent == 0) {
            break;
        }
        int gone = 0;
        e = out_gone(c, &gone);
        if (e == 0 && c->sent) {
            if (gone) {
                e = channel_say_gone(c, &c->out[0], gone);
            } else if (!channel_wait_more(&w)) {
                e = channel_say(c, -ETIMEDOUT, "%u slots are not back", c->sent);
            }
        }
    }
    return e;
}
