// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fuzzer is the network device: it fills receive buffers, headers and used entries as it likes,
// also wrongly, while the driver polls and sends. Every frame handed up must lie in the driver's
// buffers (the sanitizer reads all of it) and add up to its length.
//
// Links: libos/virtio/net.c libos/virtio/device.c libos/virtio/queue.c libos/virtio/queue_split.c
// Links: libos/virtio/queue_packed.c libos/virtio/sim_host.c libos/virtio/fake_host.c
#include "libos/netdev.h"
#include "libos/virtio/sim_host.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void virtio_net_forget(void);

void random_bytes(void *out, size_t bytes)
{
    memset(out, 2, bytes);
}

static uint8_t sink;
static void receive(void *ctx, const struct netdev_frame *frame)
{
    (void)ctx;
    size_t sum = 0;
    for (size_t i = 0; i < frame->segment_count; i++) {
        const uint8_t *at = frame->segments[i].data;
        for (size_t k = 0; k < frame->segments[i].bytes; k++) {
            sink ^= at[k];
        }
        sum += frame->segments[i].bytes;
    }
    if (sum != frame->bytes) {
        abort();
    }
}

// One of either ring kind.
static struct virtio_device devices[2];
static struct sim_device sims[2];

static void setup(unsigned kind)
{
    struct virtio_device *d = &devices[kind];
    struct sim_device *s = &sims[kind];
    sim_device_init(d, s, VIRTIO_NET);
    s->features |= VIRTIO_F(0) | VIRTIO_F(1) | VIRTIO_F(5) | VIRTIO_F(15) | VIRTIO_F(16) |
                   VIRTIO_F_EVENT_IDX | (kind ? VIRTIO_F_RING_PACKED : 0);
    s->config[6] = 1;
    s->queue_size = 16;
    if (virtio_net_probe(d) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    unsigned kind = data[0] & 1;
    setup(kind);
    struct sim_device *s = &sims[kind];
    struct netdev *n = netdev_at(0);
    struct sim_chain held[16];
    unsigned held_count = 0;
    data++;
    size--;
    while (size >= 3) {
        uint8_t op = data[0];
        uint16_t value = (uint16_t)(data[1] | data[2] << 8);
        data += 3;
        size -= 3;
        switch (op % 5) {
        case 0: // fill a receive buffer: header and length from the input
            if (held_count < 16 && sim_pop(&s->queue[0], &held[held_count])) {
                uint8_t *to = (uint8_t *)(uintptr_t)held[held_count].segment[0].phys;
                size_t take = size < 64 ? size : 64;
                memcpy(to, data, take);
                data += take;
                size -= take;
                held_count++;
            }
            break;
        case 1: // hand one back, with a length that may be a lie
            if (held_count) {
                sim_push(&s->queue[0], &held[--held_count], value % 2200);
            }
            break;
        case 2:
            n->poll(n, value % 20, receive, NULL);
            break;
        case 3: {
            static const uint8_t frame[2000];
            struct netdev_segment g = {frame, value % 2000};
            struct netdev_checksum c = {op & 8, value, (uint16_t)(value >> 3)};
            n->send(n, &g, 1, &c);
            break;
        }
        default: { // finish a transmission, or claim one
            struct sim_chain c;
            if (op & 16) {
                sim_push_raw(&s->queue[1], value % 20, 0, 1);
            } else if (sim_pop(&s->queue[1], &c)) {
                sim_push(&s->queue[1], &c, 0);
            }
            break;
        }
        }
    }
    n->poll(n, 64, receive, NULL);
    virtio_net_forget();
    return 0;
}
