// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The sender of a BROADCAST or RING: receivers join and leave while it sends. What a receiver that
// is cut off still had comes back at once; it learns so from its welcome, which is gone.
#include "hypercall/channel/internal.h"

void channel_cut(struct channel *c, struct lane *l)
{
    store64(&l->source->welcome, 0);
    l->refused = l->session;
    l->session = 0;
    for (uint32_t s = 0; s < c->format.slots; s++) {
        struct slot *slot = &c->out_slots[s];
        if (slot->state == SLOT_SENT && (slot->lanes & l->bit)) {
            slot->lanes = (uint8_t)(slot->lanes & ~l->bit);
            if (slot->lanes == 0) {
                channel_slot_back(c, s);
            }
        }
    }
}

void channel_admit(struct channel *c)
{
    for (uint32_t i = 0; i < c->out_count; i++) {
        struct lane *l = &c->out[i];
        uint64_t hello = load64(&l->sink->hello);
        if (l->session && hello != l->session) {
            channel_cut(c, l);
        }
        if (l->session || l->banned || hello >> 32 != c->generation || (uint32_t)hello == 0 ||
            hello == l->refused) {
            continue;
        }
        store64(&l->source->tail, 0);
        l->position = l->returned = l->seen = 0;
        l->session = hello;
        channel_watch(c, l);
        store64(&l->source->welcome, hello);
    }
}

void channel_cut_gone(struct channel *c)
{
    for (uint32_t i = 0; i < c->out_count; i++) {
        struct lane *l = &c->out[i];
        if (l->session && channel_lane_gone(c, l)) {
            channel_say(c, 0, "end %u has left", l->peer);
            channel_cut(c, l);
        }
    }
}

int channel_drop(struct channel *c, uint32_t end)
{
    if (!c->hub || end == 0 || end > c->out_count) {
        return -EINVAL;
    }
    if (c->out[end - 1].session) {
        channel_cut(c, &c->out[end - 1]);
    }
    return 0;
}

uint32_t channel_receivers(const struct channel *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->out_count; i++) {
        n += c->out[i].session != 0;
    }
    return n;
}
