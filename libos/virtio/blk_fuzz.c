// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fuzzer is the disk: it offers any features and geometry, answers, keeps silent, lies about
// what it used, and changes its configuration while requests run. Every request must end, with a
// zero or an error, and touch nothing but its buffer.
//
// Links: libos/virtio/blk_segments.c libos/virtio/device.c libos/virtio/queue.c
// Links: libos/virtio/queue_split.c libos/virtio/queue_packed.c libos/virtio/sim_host.c
// Links: libos/virtio/fake_host.c
#include "libos/virtio/blk.c" // its table of devices must be emptied after each input
#include "libos/virtio/sim_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *script;
static size_t script_bytes;
static unsigned lied_before_reset; // the ring makes no sense since that many resets
static bool lied;
static struct virtio_device device;
static struct sim_device sim;

static uint8_t next(void)
{
    if (script_bytes == 0) {
        return 0;
    }
    script_bytes--;
    return *script++;
}

static void complete(uint8_t how)
{
    struct sim_chain c;
    if (!sim.enabled[0] || (lied && lied_before_reset == sim.resets) ||
        !sim_pop(&sim.queue[0], &c)) {
        return;
    }
    lied = false;
    unsigned count = c.readable + c.writable;
    for (unsigned i = c.readable; i < count; i++) {
        memset((void *)(uintptr_t)c.segment[i].phys, i + 1 == count ? how & 3 : 0x5a,
               c.segment[i].bytes);
    }
    sim_push(&sim.queue[0], &c, how & 4 ? (uint32_t)next() << (how >> 3) : 1);
}

// The device's turn, whenever the driver waits.
static void idle(void)
{
    uint8_t op = next(), argument = next();
    switch (op % 6) {
    case 0:
        break;
    case 1:
        complete(0);
        break;
    case 2:
        complete(argument);
        break;
    case 3:
        if (sim.enabled[0]) {
            sim_push_raw(&sim.queue[0], argument % 20, op, 1);
            lied = true;
            lied_before_reset = sim.resets;
        }
        break;
    case 4:
        sim.config[argument % 24] = op;
        device.config_changed = 1;
        break;
    default:
        sim.stuck_reset = argument & 1;
        sim.generation_step = argument >> 7;
        sim.status |= argument & VIRTIO_STATUS_NEEDS_RESET;
        break;
    }
    // Not for ever once the script has ended: interrupts keep the clock from moving.
    if ((op || argument) && device.on_queue && device.driver) {
        device.on_queue(device.driver);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t room[8 + (1 << 17) + 8];
    script = data;
    script_bytes = size;
    sim_device_init(&device, &sim, VIRTIO_BLK);
    uint8_t kind = next(), more = next();
    sim.features |= (kind & 1 ? VIRTIO_F_RING_PACKED : 0) | (kind & 2 ? VIRTIO_F_EVENT_IDX : 0) |
                    (kind & 4 ? VIRTIO_F_INDIRECT_DESC : 0) | (kind & 8 ? F_SIZE_MAX : 0) |
                    (kind & 16 ? F_SEG_MAX : 0) | (kind & 32 ? F_RO : 0) |
                    (kind & 64 ? F_BLK_SIZE : 0) | (kind & 128 ? F_FLUSH : 0);
    sim.queue_size = (uint16_t)(1u << (more & 7));
    sim.no_interrupts = more & 8;
    // Capacity, largest segment, most segments, block size: two bytes each are enough.
    for (unsigned i = 0; i < 8; i++) {
        static const uint8_t at[] = {0, 1, 8, 9, 12, 13, 20, 21};
        sim.config[at[i]] = next();
    }
    lied = false;
    fake_idle = idle;
    int rc = virtio_blk_probe(&device);
    for (unsigned i = 0; rc == 0 && script_bytes && i < 32; i++) {
        struct blkdev *d = blkdev_at(0);
        uint8_t op = next();
        uint64_t offset = (uint64_t)next() * d->block_bytes;
        size_t bytes = (size_t)(1 + next() % 16) * (op & 4 ? 512 : d->block_bytes);
        bytes = bytes < 1 << 17 ? bytes : 1 << 17;
        uint8_t *at = room + 8;
        memset(room, 0xa5, 8);
        memset(at + bytes, 0xa5, 8);
        rc = op % 3 == 0   ? blkdev_read(d, offset, at, bytes)
             : op % 3 == 1 ? blkdev_write(d, offset, at, bytes)
                           : blkdev_flush(d);
        for (unsigned k = 0; k < 8; k++) {
            if (room[k] != 0xa5 || at[bytes + k] != 0xa5) {
                abort();
            }
        }
        if (rc > 0) {
            abort();
        }
        rc = 0;
    }
    fake_idle = NULL;
    struct blk *b = device.driver;
    if (b) {
        mem_zone_free(b->wire);
        mem_zone_free(b->queue.config.ring);
        free(b->queue.config.slots);
        free(b);
    }
    blk_count = 0;
    return 0;
}
