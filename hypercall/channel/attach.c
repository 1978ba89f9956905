// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Taking an end of a channel, showing that it lives, and leaving it.
#include "hypercall/channel/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lane lane_at(struct channel *c, uint32_t number, uint32_t peer)
{
    uint32_t slots = c->format.slots;
    uint8_t *at = c->block + HC_CHANNEL_LANES + number * hc_channel_lane_bytes(slots);
    struct lane l = {.peer = peer};
    l.source = (struct hc_channel_source *)at;
    l.sink = (struct hc_channel_sink *)(l.source + 1);
    l.tensors = (struct hc_channel_tensor *)(l.sink + 1);
    l.returns = (uint32_t *)(l.tensors + slots);
    return l;
}

static void add_out(struct channel *c, uint32_t number, uint32_t peer)
{
    c->out[c->out_count] = lane_at(c, number, peer);
    c->out[c->out_count].bit = (uint8_t)(1u << c->out_count);
    c->out_count++;
}

// Which lanes end here. An end number that the kind has not was refused before.
static void find_lanes(struct channel *c)
{
    uint32_t end = c->end, last = c->format.ends - 1;
    uint8_t *pool =
        c->block + hc_channel_slots_offset(c->format.kind, c->format.ends, c->format.slots);
    c->in_data = c->out_data = pool;
    switch (c->format.kind) {
    case HC_CHANNEL_BIDIRECTIONAL:
        add_out(c, end, 1 - end);
        c->in = lane_at(c, 1 - end, 1 - end);
        c->receives = true;
        c->in_data = pool + (1 - end) * c->format.slots * c->format.slot_bytes;
        c->out_data = pool + end * c->format.slots * c->format.slot_bytes;
        break;
    case HC_CHANNEL_BROADCAST:
        c->receives = end > 0;
        c->in = lane_at(c, end ? end - 1 : 0, 0);
        for (uint32_t i = 0; end == 0 && i < last; i++) {
            add_out(c, i, i + 1);
        }
        break;
    default:
        c->receives = end > 0;
        c->in = lane_at(c, end ? end - 1 : 0, end ? end - 1 : 0);
        if (end < last) {
            add_out(c, end, end + 1);
        }
    }
    c->passes = c->format.kind == HC_CHANNEL_PIPE && c->receives && c->out_count > 0;
    c->hub =
        (c->format.kind == HC_CHANNEL_BROADCAST || c->format.kind == HC_CHANNEL_RING) && end == 0;
}

// The end becomes ours, unless its owner lives.
static int claim(struct channel *c, char *error, size_t error_bytes)
{
    struct hc_channel_end *e = &c->ends[c->end];
    uint64_t owner = load64(&e->owner), beat = load64(&e->heartbeat);
    if (owner && load32(&e->state) == HC_END_OPEN && !c->options.take_over) {
        uint64_t start = c->port.now_ns(c->port.ctx);
        while (c->port.now_ns(c->port.ctx) - start < c->options.dead_ns) {
            if (load64(&e->heartbeat) != beat) {
                snprintf(error, error_bytes, "end %u has an owner that lives", c->end);
                return -EBUSY;
            }
            c->port.rest(c->port.ctx, 1000000);
        }
    }
    do {
        c->owner = c->port.random(c->port.ctx);
    } while (c->owner == 0);
    if (!__atomic_compare_exchange_n(&e->owner, &owner, c->owner, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        snprintf(error, error_bytes, "another one has just taken end %u", c->end);
        return -EBUSY;
    }
    c->beats = beat;
    return 0;
}

static void free_all(struct channel *c)
{
    free(c->in_slots);
    free(c->out_slots);
    free(c->free_slots);
    free(c->ring_slots);
    free(c);
}

int channel_attach(void *block, size_t bytes, uint32_t end, const struct channel_port *port,
                   const struct channel_options *options, struct channel **out, char *error,
                   size_t error_bytes)
{
    struct channel_format format;
    int e = channel_read_header(block, bytes, &format, error, error_bytes);
    if (e) {
        return e;
    }
    if (end >= format.ends) {
        snprintf(error, error_bytes, "the channel has ends 0 to %u, not %u", format.ends - 1, end);
        return -EINVAL;
    }
    struct channel *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    c->block = block;
    c->format = format;
    c->port = *port;
    c->options = options ? *options : (struct channel_options){0};
    c->options.dead_ns = c->options.dead_ns ? c->options.dead_ns : 2000000000ull;
    c->options.spin = c->options.spin ? c->options.spin : 2000;
    c->end = end;
    c->ends = (struct hc_channel_end *)((struct hc_channel_header *)block + 1);
    find_lanes(c);
    c->in_slots = calloc(format.slots, sizeof(*c->in_slots));
    c->out_slots = calloc(format.slots, sizeof(*c->out_slots));
    c->free_slots = calloc(format.slots, sizeof(*c->free_slots));
    c->ring_slots = calloc(format.slots, sizeof(*c->ring_slots));
    if (!c->in_slots || !c->out_slots || !c->free_slots || !c->ring_slots) {
        snprintf(error, error_bytes, "out of memory");
        e = -ENOMEM;
        goto fail;
    }
    e = claim(c, error, error_bytes);
    if (e) {
        goto fail;
    }
    channel_start_over(c);
    c->live = c->hub;
    channel_say(c, 0, "not connected yet");
    *out = c;
    return 0;
fail:
    free_all(c);
    return e;
}

int channel_beat(struct channel *c)
{
    struct hc_channel_end *e = &c->ends[c->end];
    if (load64(&e->owner) != c->owner) {
        return -ESTALE;
    }
    store64(&e->heartbeat, ++c->beats);
    return 0;
}

void channel_close(struct channel *c)
{
    if (c == NULL) {
        return;
    }
    struct hc_channel_end *e = &c->ends[c->end];
    uint64_t owner = c->owner;
    if (load64(&e->owner) == owner) {
        store32(&e->state, HC_END_CLOSED);
        __atomic_compare_exchange_n(&e->owner, &owner, 0, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE);
    }
    free_all(c);
}

const char *channel_reason(const struct channel *c)
{
    return c->reason;
}

const struct channel_format *channel_format_of(const struct channel *c)
{
    return &c->format;
}
