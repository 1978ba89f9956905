// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// virtio-blk: requests of several strands in flight on one queue. There is no strand of its own:
// the interrupt wakes all who wait, and whoever comes first takes the finished requests off the
// ring for everyone. A request that outlives its time-out resets the device. Source:
// virtio 1.2, 5.2.
#include "libos/blkdev.h"
#include "libos/virtio/blk_segments.h"
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/spin.h"
#include "platform/paging.h"
#include "platform/time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F_SIZE_MAX VIRTIO_F(1)
#define F_SEG_MAX  VIRTIO_F(2)
#define F_RO       VIRTIO_F(5)
#define F_BLK_SIZE VIRTIO_F(6)
#define F_FLUSH    VIRTIO_F(9)
#define F_TOPOLOGY VIRTIO_F(10)

#define CONFIG_CAPACITY 0  // le64, in 512-byte sectors
#define CONFIG_SIZE_MAX 8  // le32
#define CONFIG_SEG_MAX  12 // le32
#define CONFIG_BLK_SIZE 20 // le32

#define TYPE_READ          0u
#define TYPE_WRITE         1u
#define TYPE_FLUSH         4u
#define STATUS_OK          0u
#define STATUS_IOERR       1u
#define STATUS_UNSUPPORTED 2u
#define STATUS_NONE        0xffu // ours, until the device writes one

#define SECTOR       512u
#define MAX_DEVICES  8u
#define SLOTS        16u
#define MAX_SEGMENTS 16u // data segments a request
#define MAX_REQUEST  (1u << 20)
#define DIRECT_QUEUE 128u // descriptors where there are no indirect ones
#ifdef TESSERA_TEST
#define TIMEOUT_NS (20ull * 1000 * 1000)
#else
#define TIMEOUT_NS (10ull * 1000 * 1000 * 1000)
#endif

// What the device reads and writes beside the data. DMA memory.
struct blk_wire {
    uint32_t type, reserved;
    uint64_t sector;
    uint8_t status; // the device's
    uint8_t unused[47];
};
_Static_assert(sizeof(struct blk_wire) == 64, "one cache line a request");

struct blk_slot {
    struct wake done;
    // Written under the lock, read by the interrupt too. It wakes all who are in flight, not just
    // one: the one might be of low priority, and what the others wait for would wait with it.
    uint32_t busy;
    bool finished;
    int result;
};

struct blk {
    struct blkdev dev; // first
    struct virtio_device *device;
    uint32_t lock; // queue, slots, counters
    struct vq queue;
    struct blk_wire *wire; // [SLOTS]
    uint64_t wire_phys;
    struct wake room; // a slot has become free
    unsigned slot_count;
    unsigned max_segments;
    uint32_t segment_bytes;
    struct blk_slot slot[SLOTS];
};

static struct blk *blks[MAX_DEVICES]; // filled by virtio_init, then constant
static size_t blk_count;

size_t blkdev_count(void)
{
    return blk_count;
}
struct blkdev *blkdev_at(size_t i)
{
    return i < blk_count ? &blks[i]->dev : NULL;
}

VIRTIO_IRQ static void blk_interrupt(void *driver)
{
    struct blk *b = driver;
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct blk_slot *s = &b->slot[i];
        if (__atomic_load_n(&s->busy, __ATOMIC_RELAXED) &&
            !__atomic_load_n(&s->finished, __ATOMIC_RELAXED)) {
            wake_set(&b->slot[i].done);
        }
    }
}

// ---- starting, also after a reset ----------------------------------------------------------

static int read_config(struct blk *b, unsigned *segments)
{
    struct virtio_device *d = b->device;
    uint32_t capacity[2], block = SECTOR, size_max = MAX_REQUEST, seg_max = 1;
    int rc = virtio_config_read(d, CONFIG_CAPACITY, capacity, 2, 4);
    if (!rc && virtio_has(d, F_BLK_SIZE)) {
        rc = virtio_config_read(d, CONFIG_BLK_SIZE, &block, 1, 4);
    }
    if (!rc && virtio_has(d, F_SIZE_MAX)) {
        rc = virtio_config_read(d, CONFIG_SIZE_MAX, &size_max, 1, 4);
    }
    if (!rc && virtio_has(d, F_SEG_MAX)) {
        rc = virtio_config_read(d, CONFIG_SEG_MAX, &seg_max, 1, 4);
    }
    if (rc) {
        virtio_fail(d, "configuration does not stay still");
        return rc;
    }
    uint64_t sectors = capacity[0] | (uint64_t)capacity[1] << 32;
    if (block < SECTOR || block > 65536 || (block & (block - 1)) || sectors > UINT64_MAX / SECTOR ||
        size_max < SECTOR) {
        virtio_fail(d, "block size, segment size or capacity makes no sense");
        return -EINVAL;
    }
    b->dev.block_bytes = block;
    b->dev.bytes = sectors * SECTOR / block * block;
    b->segment_bytes = size_max < MAX_REQUEST ? size_max : MAX_REQUEST;
    *segments = seg_max == 0 ? 1 : seg_max < MAX_SEGMENTS ? seg_max : MAX_SEGMENTS;
    return 0;
}

static int blk_start(struct blk *b)
{
    struct virtio_device *d = b->device;
    int rc = virtio_start(d,
                          F_SIZE_MAX | F_SEG_MAX | F_RO | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
                              VIRTIO_F_INDIRECT_DESC,
                          0);
    if (!rc) {
        rc = read_config(b, &b->max_segments);
    }
    if (rc) {
        return rc;
    }
    virtio_interrupts(d, 1);
    bool indirect = virtio_has(d, VIRTIO_F_INDIRECT_DESC);
    rc = virtio_queue_start(d, 0, indirect ? SLOTS : DIRECT_QUEUE, (uint16_t)(b->max_segments + 2),
                            &b->queue);
    if (rc) {
        return rc;
    }
    // As many slots as the ring can hold at their largest: vq_add never lacks room.
    unsigned each = b->queue.config.indirect ? 1 : b->max_segments + 2;
    if (each > b->queue.config.size) {
        each = b->queue.config.size;
        b->max_segments = each - 2;
    }
    if (each < 1 || (!b->queue.config.indirect && each < 3)) {
        virtio_fail(d, "its queue is too short for one request");
        return -EINVAL;
    }
    b->slot_count = b->queue.config.size / each;
    b->slot_count = b->slot_count < SLOTS ? b->slot_count : SLOTS;
    rc = virtio_ready(d);
    if (!rc && !d->polled) {
        vq_interrupts_on(&b->queue);
    }
    return rc;
}

// ---- requests ------------------------------------------------------------------------------

static void finish(struct blk *b, unsigned i, int result)
{
    b->slot[i].result = result;
    __atomic_store_n(&b->slot[i].finished, true, __ATOMIC_RELEASE);
    wake_set(&b->slot[i].done);
}

// Everything in flight ends with `result`. Only when the device has let go of the memory (reset),
// or never will and has been cut off from it.
static void finish_all(struct blk *b, int result)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (b->slot[i].busy && !b->slot[i].finished) {
            finish(b, i, result);
        }
    }
}

static int status_error(uint8_t status)
{
    return status == STATUS_OK ? 0 : status == STATUS_UNSUPPORTED ? -ENOTSUP : -EIO;
}

// Takes what the device has finished, whoever asked for it. Under the lock.
static void reap(struct blk *b)
{
    do {
        struct blk_wire *w;
        uint32_t written;
        while ((w = vq_take(&b->queue, &written)) != NULL) {
            unsigned i = (unsigned)(w - b->wire);
            finish(b, i, status_error(__atomic_load_n(&w->status, __ATOMIC_ACQUIRE)));
        }
    } while (!b->device->polled && vq_interrupts_on(&b->queue));
    if (b->queue.broken && !b->device->broken) {
        virtio_reset(b->device);
        virtio_fail(b->device, b->queue.broken);
        finish_all(b, -EIO);
    }
}

// A request is overdue: resets the device, fails what was in flight, starts anew. Under the lock.
static void recover(struct blk *b, unsigned late)
{
    log_error("blk", "%s: no answer to request type %u at sector %llu for %llu ms, resetting",
              b->dev.name, b->wire[late].type, (unsigned long long)b->wire[late].sector,
              (unsigned long long)TIMEOUT_NS / 1000000);
    finish(b, late, -ETIMEDOUT);
    if (virtio_reset(b->device) != 0) {
        virtio_fail(b->device, "does not reset after a time-out");
    } else if (blk_start(b) != 0) {
        virtio_fail(b->device, "does not start again after a time-out");
    }
    finish_all(b, -EIO);
}

// A free slot for this strand, or -1 once `deadline` has passed.
static int claim(struct blk *b, uint64_t deadline)
{
    for (;;) {
        spin_lock(&b->lock);
        for (unsigned i = 0; i < b->slot_count; i++) {
            if (!b->slot[i].busy) {
                b->slot[i].finished = false;
                __atomic_store_n(&b->slot[i].busy, 1, __ATOMIC_RELAXED);
                spin_unlock(&b->lock);
                return (int)i;
            }
        }
        spin_unlock(&b->lock);
        uint64_t now = pf_now_ns();
        if (now >= deadline) {
            return -1;
        }
        wake_wait(&b->room, now + VIRTIO_POLL_NS); // bounded: one wake may serve one of many
    }
}

static void submit(struct blk *b, unsigned i, uint32_t type, uint64_t sector,
                   const struct vq_segment *data, unsigned count)
{
    struct vq_segment s[MAX_SEGMENTS + 2];
    struct blk_wire *w = &b->wire[i];
    uint64_t phys = b->wire_phys + (uint64_t)i * sizeof(*w);
    *w = (struct blk_wire){.type = type, .sector = sector, .status = STATUS_NONE};
    s[0] = (struct vq_segment){phys, offsetof(struct blk_wire, status)};
    for (unsigned k = 0; k < count; k++) {
        s[k + 1] = data[k];
    }
    s[count + 1] = (struct vq_segment){phys + offsetof(struct blk_wire, status), 1};
    unsigned readable = type == TYPE_WRITE ? 1 + count : 1;
    int rc = b->device->broken ? -EIO : vq_add(&b->queue, s, readable, count + 2 - readable, w);
    if (rc) {
        finish(b, i, -EIO);
    } else {
        virtio_kick(b->device, 0, &b->queue);
    }
}

static int request(struct blk *b, uint32_t type, uint64_t sector, const struct vq_segment *data,
                   unsigned count, uint64_t bytes)
{
    uint64_t deadline = pf_now_ns() + TIMEOUT_NS;
    int claimed = claim(b, deadline);
    if (claimed < 0) {
        return -ETIMEDOUT;
    }
    unsigned i = (unsigned)claimed;
    struct blk_slot *slot = &b->slot[i];
    spin_lock(&b->lock);
    if (__atomic_exchange_n(&b->device->config_changed, 0, __ATOMIC_ACQUIRE) &&
        virtio_healthy(b->device)) {
        unsigned segments;         // the ring was cut up for those of the start
        read_config(b, &segments); // the capacity may have changed
    }
    submit(b, i, type, sector, data, count);
    deadline = pf_now_ns() + TIMEOUT_NS; // waiting for a slot does not count
    for (;;) {
        // The time first: a machine that was paused looks once more before it calls anything late.
        uint64_t now = pf_now_ns();
        reap(b);
        if (!slot->finished && now >= deadline) {
            recover(b, i);
        }
        if (slot->finished) {
            break;
        }
        spin_unlock(&b->lock);
        uint64_t look = now + VIRTIO_POLL_NS;
        wake_wait(&slot->done, b->device->polled && look < deadline ? look : deadline);
        spin_lock(&b->lock);
    }
    int result = slot->result;
    b->dev.errors += result != 0;
    if (type == TYPE_FLUSH) {
        b->dev.flushes++;
    } else if (type == TYPE_READ) {
        b->dev.reads++;
        b->dev.read_bytes += result ? 0 : bytes;
    } else {
        b->dev.writes++;
        b->dev.write_bytes += result ? 0 : bytes;
    }
    __atomic_store_n(&slot->busy, 0, __ATOMIC_RELAXED);
    spin_unlock(&b->lock);
    wake_set(&b->room);
    return result;
}

static int transfer(struct blkdev *dev, uint32_t type, uint64_t offset, const void *data,
                    size_t bytes)
{
    struct blk *b = dev->driver;
    if (b->device->broken) {
        return -EIO;
    }
    if (offset % dev->block_bytes || bytes % dev->block_bytes || offset > dev->bytes ||
        bytes > dev->bytes - offset) {
        return -EINVAL;
    }
    const uint8_t *at = data;
    while (bytes) {
        struct vq_segment s[MAX_SEGMENTS];
        unsigned count;
        size_t chunk = blk_segments(at, bytes < MAX_REQUEST ? bytes : MAX_REQUEST, dev->block_bytes,
                                    b->max_segments, b->segment_bytes, s, &count);
        if (chunk == 0) {
            return -EINVAL; // not memory of ours, or too scattered for the device
        }
        int rc = request(b, type, offset / SECTOR, s, count, chunk);
        if (rc) {
            return rc;
        }
        at += chunk;
        offset += chunk;
        bytes -= chunk;
    }
    return 0;
}

int blkdev_read(struct blkdev *d, uint64_t offset, void *data, size_t bytes)
{
    return transfer(d, TYPE_READ, offset, data, bytes);
}

int blkdev_write(struct blkdev *d, uint64_t offset, const void *data, size_t bytes)
{
    return d->read_only ? -EROFS : transfer(d, TYPE_WRITE, offset, data, bytes);
}

int blkdev_flush(struct blkdev *d)
{
    // 5.2.6.2: without the feature every finished write is already on the medium.
    return d->has_flush && !d->read_only ? request(d->driver, TYPE_FLUSH, 0, NULL, 0, 0) : 0;
}

int virtio_blk_probe(struct virtio_device *d)
{
    if (blk_count == MAX_DEVICES) {
        virtio_fail(d, "too many block devices");
        return -ENOSPC;
    }
    struct blk *b = calloc(1, sizeof(*b));
    if (!b) {
        return -ENOMEM;
    }
    b->device = d;
    b->wire = mem_zone_alloc(MEM_DMA, SLOTS * sizeof(*b->wire));
    if (!b->wire) {
        free(b);
        return -ENOMEM;
    }
    b->wire_phys = mem_phys(b->wire);
    d->driver = b;
    d->on_queue = blk_interrupt;
    d->on_config = NULL; // looked at with the next request
    int rc = blk_start(b);
    if (rc) {
        return rc; // memory stays allocated: the device may know of it
    }
    b->dev.name = d->name;
    b->dev.driver = b;
    b->dev.read_only = virtio_has(d, F_RO);
    b->dev.has_flush = virtio_has(d, F_FLUSH);
    blks[blk_count++] = b;
    log_debug("blk", "%s (%s): %llu KB, blocks of %u, %s%s ring", d->name, d->location,
              (unsigned long long)b->dev.bytes / 1024, b->dev.block_bytes,
              b->dev.read_only ? "read-only, " : "",
              virtio_has(d, VIRTIO_F_RING_PACKED) ? "packed" : "split");
    return 0;
}
