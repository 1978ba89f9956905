// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The device's side of virtqueues, for tests. Source: virtio 1.2, 2.7 and 2.8, device requirements.
#include "libos/virtio/sim_host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sim_attach(struct sim_queue *s, const struct vq *q)
{
    *s = (struct sim_queue){
        .packed = q->config.packed,
        .event_index = q->config.event_index,
        .size = q->config.size,
        .desc = q->desc,
        .driver = q->driver,
        .device = q->device,
        .avail_wrap = true,
        .used_wrap = true,
    };
}

static uint16_t load(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, 2);
    return v;
}
static void store(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, 2);
}
static struct vq_descriptor *descriptor(struct sim_queue *s, unsigned i)
{
    return (struct vq_descriptor *)(void *)s->desc + i;
}

static void take_segment(struct sim_chain *c, const struct vq_descriptor *d, unsigned flags)
{
    assert(c->readable + c->writable < SIM_SEGMENTS);
    assert(d->bytes > 0);
    c->segment[c->readable + c->writable] = (struct vq_segment){d->address, d->bytes};
    if (flags & VQ_WRITE) {
        c->writable++;
    } else {
        assert(c->writable == 0); // readable ones come first
        c->readable++;
    }
}

static void take_table(struct sim_chain *c, const struct vq_descriptor *d, bool packed)
{
    const struct vq_descriptor *table = (void *)(uintptr_t)d->address;
    assert(d->bytes % 16 == 0 && d->bytes);
    unsigned count = d->bytes / 16, i = 0;
    for (unsigned steps = 0; steps < count; steps++) {
        unsigned flags = packed ? table[i].next_or_flags : table[i].flags_or_id;
        take_segment(c, &table[i], flags);
        if (!packed && !(flags & VQ_NEXT)) {
            assert(steps + 1 == count);
            break;
        }
        i = packed ? i + 1 : table[i].next_or_flags;
        assert(packed || i < count);
    }
}

static bool pop_split(struct sim_queue *s, struct sim_chain *c)
{
    if (load(s->driver + 2) == s->avail) {
        return false;
    }
    uint16_t head = load(s->driver + 4 + 2 * (s->avail % s->size));
    s->avail++;
    c->id = head;
    for (uint16_t i = head;;) {
        assert(i < s->size);
        struct vq_descriptor *d = descriptor(s, i);
        c->descriptors++;
        assert(c->descriptors <= s->size);
        if (d->flags_or_id & VQ_INDIRECT) {
            take_table(c, d, false);
            break;
        }
        take_segment(c, d, d->flags_or_id);
        if (!(d->flags_or_id & VQ_NEXT)) {
            break;
        }
        i = d->next_or_flags;
    }
    return true;
}

static void step(struct sim_queue *s, uint16_t *at, bool *wrap)
{
    if (++*at == s->size) {
        *at = 0;
        *wrap = !*wrap;
    }
}

static bool available(struct sim_queue *s)
{
    unsigned flags = descriptor(s, s->avail)->next_or_flags;
    bool a = flags & VQ_AVAIL, u = flags & VQ_USED;
    return a == s->avail_wrap && u != s->avail_wrap;
}

static bool pop_packed(struct sim_queue *s, struct sim_chain *c)
{
    if (!available(s)) {
        return false;
    }
    for (;;) {
        assert(available(s)); // the whole chain is there once its head is
        struct vq_descriptor *d = descriptor(s, s->avail);
        unsigned flags = d->next_or_flags;
        c->descriptors++;
        c->id = d->flags_or_id; // the last one's counts
        if (flags & VQ_INDIRECT) {
            take_table(c, d, true);
        } else {
            take_segment(c, d, flags);
        }
        step(s, &s->avail, &s->avail_wrap);
        if (!(flags & VQ_NEXT)) {
            return true;
        }
    }
}

bool sim_pop(struct sim_queue *s, struct sim_chain *chain)
{
    *chain = (struct sim_chain){0};
    return s->packed ? pop_packed(s, chain) : pop_split(s, chain);
}

void sim_push_raw(struct sim_queue *s, uint32_t id, uint32_t written, unsigned descriptors)
{
    s->signalled++;
    if (!s->packed) {
        uint8_t *e = s->device + 4 + 8 * (s->used % s->size);
        memcpy(e, &id, 4);
        memcpy(e + 4, &written, 4);
        s->used++;
        store(s->device + 2, s->used);
        return;
    }
    struct vq_descriptor *d = descriptor(s, s->used);
    d->flags_or_id = (uint16_t)id;
    d->bytes = written;
    d->next_or_flags = s->used_wrap ? VQ_AVAIL | VQ_USED : 0;
    while (descriptors--) {
        step(s, &s->used, &s->used_wrap);
    }
}

void sim_push(struct sim_queue *s, const struct sim_chain *chain, uint32_t written)
{
    sim_push_raw(s, chain->id, written, chain->descriptors);
}

bool sim_interrupt_due(struct sim_queue *s)
{
    unsigned count = s->signalled;
    s->signalled = 0;
    if (count == 0) {
        return false;
    }
    if (!s->packed) {
        if (!s->event_index) {
            return !(load(s->driver) & 1);
        }
        uint16_t event = load(s->driver + 4 + 2 * s->size);
        for (unsigned i = 1; i <= count; i++) { // each index passed, one by one
            if ((uint16_t)(s->used - i) == event) {
                return true;
            }
        }
        return false;
    }
    uint16_t flags = load(s->driver + 2);
    if (flags != 2) {
        return flags == 0;
    }
    uint16_t event = load(s->driver);
    unsigned at = (event & 0x7fffu) + (event >> 15 ? 0 : s->size), circle = 2u * s->size;
    unsigned now = s->used + (s->used_wrap ? 0u : s->size);
    return (now + circle - at - 1) % circle < s->size; // it has been passed
}

void sim_want_kick(struct sim_queue *s, bool wanted)
{
    if (!s->packed) {
        if (s->event_index) {
            store(s->device + 4 + 8 * s->size, wanted ? s->avail : (uint16_t)(s->avail - 1));
        } else {
            store(s->device, wanted ? 0 : 1);
        }
        return;
    }
    store(s->device, (uint16_t)(s->avail | (s->avail_wrap ? 0x8000 : 0)));
    store(s->device + 2, wanted ? (s->event_index ? 2 : 0) : 1);
}

// ---- the transport -------------------------------------------------------------------------

static struct sim_device *sim(struct virtio_device *d)
{
    return d->fake;
}
static uint8_t sim_status(struct virtio_device *d)
{
    return sim(d)->status;
}
static void sim_set_status(struct virtio_device *d, uint8_t status)
{
    struct sim_device *s = sim(d);
    if (status == 0) {
        s->resets++;
        memset(s->enabled, 0, sizeof(s->enabled));
        s->status = s->stuck_reset ? s->status : 0;
        return;
    }
    if ((status & VIRTIO_STATUS_FEATURES_OK) && (s->refuse || (s->accepted & ~s->features))) {
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    }
    s->status = status;
}
static uint32_t sim_features(struct virtio_device *d, unsigned word)
{
    return (uint32_t)(sim(d)->features >> (32 * word));
}
static void sim_set_features(struct virtio_device *d, unsigned word, uint32_t bits)
{
    struct sim_device *s = sim(d);
    assert(!(s->status & VIRTIO_STATUS_FEATURES_OK));
    s->accepted &= ~(0xffffffffull << (32 * word));
    s->accepted |= (uint64_t)bits << (32 * word);
}
static uint32_t sim_generation(struct virtio_device *d)
{
    return sim(d)->generation += sim(d)->generation_step;
}
static uint32_t sim_config(struct virtio_device *d, unsigned offset, unsigned width)
{
    uint32_t v = 0;
    assert(offset + width <= sizeof(sim(d)->config));
    memcpy(&v, sim(d)->config + offset, width);
    return v;
}
static uint16_t sim_queue_max(struct virtio_device *d, unsigned index)
{
    return index < sim(d)->queues ? sim(d)->queue_size : 0;
}
static int sim_queue_enable(struct virtio_device *d, unsigned index, const struct vq *q)
{
    struct sim_device *s = sim(d);
    assert(s->status & VIRTIO_STATUS_FEATURES_OK);
    assert(!(s->status & VIRTIO_STATUS_DRIVER_OK));
    assert(!s->enabled[index]);
    assert(q->desc_phys % 16 == 0 && q->driver_phys % 2 == 0 && q->device_phys % 4 == 0);
    s->enabled[index] = true;
    sim_attach(&s->queue[index], q);
    return 0;
}
static void sim_notify(struct virtio_device *d, unsigned index)
{
    struct sim_device *s = sim(d);
    assert(s->status & VIRTIO_STATUS_DRIVER_OK); // 3.1.1: no notification before
    assert(s->enabled[index]);
    s->notified[index]++;
    if (s->on_notify) {
        s->on_notify(s, index);
    }
}
static void sim_isolate(struct virtio_device *d)
{
    sim(d)->isolated++;
}
static int sim_interrupts(struct virtio_device *d, unsigned queues)
{
    assert(queues <= VIRTIO_MAX_QUEUES);
    d->vectors = sim(d)->no_interrupts ? 0 : 1;
    d->lines[0] = (struct virtio_line){d, VIRTIO_LINE_ALL};
    return sim(d)->no_interrupts ? -1 : 0;
}

const struct virtio_ops sim_ops = {
    .kind = "sim",
    .status = sim_status,
    .set_status = sim_set_status,
    .features = sim_features,
    .set_features = sim_set_features,
    .generation = sim_generation,
    .config = sim_config,
    .queue_max = sim_queue_max,
    .queue_enable = sim_queue_enable,
    .notify = sim_notify,
    .isolate = sim_isolate,
    .interrupts = sim_interrupts,
};

void sim_device_init(struct virtio_device *d, struct sim_device *s, uint32_t type)
{
    memset(d, 0, sizeof(*d));
    memset(s, 0, sizeof(*s));
    d->ops = &sim_ops;
    d->type = type;
    d->fake = s;
    memcpy(d->name, "virtio-sim0", 12);
    memcpy(d->location, "sim", 4);
    s->features = VIRTIO_F_VERSION_1;
    s->queues = VIRTIO_MAX_QUEUES;
    s->queue_size = 256;
}
