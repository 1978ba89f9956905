// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The block driver against a simulated disk: data, bounds, errors, time-outs with reset, a device
// that lies; and the cutting of buffers into segments.
//
// Links: libos/virtio/blk.c libos/virtio/blk_segments.c libos/virtio/device.c libos/virtio/queue.c
// Links: libos/virtio/queue_split.c libos/virtio/queue_packed.c libos/virtio/sim_host.c
// Links: libos/virtio/fake_host.c
#include "libos/blkdev.h"
#include "libos/virtio/blk_segments.h"
#include "libos/virtio/sim_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define F_SIZE_MAX VIRTIO_F(1)
#define F_SEG_MAX  VIRTIO_F(2)
#define F_RO       VIRTIO_F(5)
#define F_BLK_SIZE VIRTIO_F(6)
#define F_FLUSH    VIRTIO_F(9)
#define DISK       (4u << 20)
#define TIMEOUT_NS 20000000u // of the driver, built for tests

static struct virtio_device devices[8];
static struct sim_device sims[8];
static unsigned made;
static uint8_t disk[DISK];
static bool silent, failing, lying;
static unsigned requests, largest_chain;
static uint16_t ring_size = 256;

// Serves every request of device `made`.
static void serve(void)
{
    struct sim_device *s = &sims[made];
    struct sim_chain c;
    while (!silent && s->enabled[0] && sim_pop(&s->queue[0], &c)) {
        requests++;
        unsigned count = c.readable + c.writable;
        largest_chain = count > largest_chain ? count : largest_chain;
        assert_int_equal(c.segment[0].bytes, 16);
        uint32_t type;
        uint64_t sector;
        memcpy(&type, (void *)(uintptr_t)c.segment[0].phys, 4);
        memcpy(&sector, (uint8_t *)(uintptr_t)c.segment[0].phys + 8, 8);
        uint8_t *at = disk + sector * 512;
        uint32_t written = 1;
        for (unsigned i = 1; i + 1 < count; i++) {
            void *data = (void *)(uintptr_t)c.segment[i].phys;
            assert_true(at + c.segment[i].bytes <= disk + DISK);
            if (type == 0) {
                memcpy(data, at, c.segment[i].bytes);
                written += c.segment[i].bytes;
            } else {
                memcpy(at, data, c.segment[i].bytes);
            }
            at += c.segment[i].bytes;
        }
        assert_int_equal(c.segment[count - 1].bytes, 1);
        *(uint8_t *)(uintptr_t)c.segment[count - 1].phys = failing ? 1 : 0;
        if (lying) {
            sim_push_raw(&s->queue[0], 500, 0, 1);
        } else {
            sim_push(&s->queue[0], &c, written);
        }
        devices[made].on_queue(devices[made].driver);
    }
}

static struct blkdev *start(uint64_t features)
{
    struct sim_device *s = &sims[made];
    sim_device_init(&devices[made], s, VIRTIO_BLK);
    s->features |= F_SEG_MAX | F_BLK_SIZE | F_FLUSH | features;
    s->queue_size = ring_size;
    uint64_t sectors = DISK / 512;
    uint32_t segments = 254, block = 512, size_max = 65536;
    memcpy(s->config, &sectors, 8);
    memcpy(s->config + 8, &size_max, 4);
    memcpy(s->config + 12, &segments, 4);
    memcpy(s->config + 20, &block, 4);
    fake_idle = serve;
    silent = failing = lying = false;
    assert_int_equal(virtio_blk_probe(&devices[made]), 0);
    return blkdev_at(blkdev_count() - 1);
}

static void data_goes_out_and_comes_back(void **state)
{
    (void)state;
    static const uint64_t kinds[] = {0, VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
                                     VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX |
                                         VIRTIO_F_INDIRECT_DESC | F_SIZE_MAX};
    uint8_t *out = malloc(3u << 20), *in = malloc(3u << 20);
    for (size_t k = 0; k < 3; k++) {
        struct blkdev *b = start(kinds[k]);
        assert_int_equal(b->bytes, DISK);
        assert_false(b->read_only);
        assert_true(b->has_flush);
        for (int i = 0; i < 200; i++) {
            size_t bytes = 512u * (1 + (unsigned)rand() % 6000);
            uint64_t offset = 512u * ((unsigned)rand() % ((DISK - bytes) / 512));
            for (size_t n = 0; n < bytes; n += 64) {
                out[n] = (uint8_t)rand();
            }
            assert_int_equal(blkdev_write(b, offset, out, bytes), 0);
            assert_memory_equal(disk + offset, out, bytes);
            memset(in, 0, bytes);
            assert_int_equal(blkdev_read(b, offset, in, bytes), 0);
            assert_memory_equal(in, out, bytes);
        }
        assert_int_equal(blkdev_flush(b), 0);
        assert_int_equal(b->flushes, 1);
        assert_int_equal(b->errors, 0);
        assert_int_equal(b->read_bytes, b->write_bytes);
        made++;
    }
    free(out);
    free(in);
}

static void bounds_are_kept(void **state)
{
    (void)state;
    struct blkdev *b = start(0);
    uint8_t data[1024];
    requests = 0;
    assert_int_equal(blkdev_read(b, 1, data, 512), -EINVAL);
    assert_int_equal(blkdev_read(b, 0, data, 511), -EINVAL);
    assert_int_equal(blkdev_read(b, DISK, data, 512), -EINVAL);
    assert_int_equal(blkdev_read(b, DISK - 512, data, 1024), -EINVAL);
    assert_int_equal(blkdev_write(b, UINT64_MAX - 511, data, 512), -EINVAL);
    assert_int_equal(requests, 0);
    assert_int_equal(blkdev_read(b, DISK - 512, data, 512), 0);
    failing = true;
    assert_int_equal(blkdev_read(b, 0, data, 512), -EIO);
    assert_int_equal(b->errors, 1);
    made++;
}

static void read_only_disks_are_not_written(void **state)
{
    (void)state;
    ring_size = 8;
    struct blkdev *b = start(F_RO | F_SIZE_MAX);
    ring_size = 256;
    uint8_t data[512];
    assert_true(b->read_only);
    assert_int_equal(blkdev_write(b, 0, data, 512), -EROFS);
    assert_int_equal(blkdev_read(b, 0, data, 512), 0);
}

// On the disk of the test before: its ring of 8 holds six segments a request.
static void a_changed_configuration_leaves_requests_within_the_ring(void **state)
{
    (void)state;
    struct blkdev *b = blkdev_at(blkdev_count() - 1);
    uint8_t *data = malloc(1u << 20);
    uint64_t sectors = DISK / 1024;
    assert_int_equal(blkdev_read(b, 0, data, 1u << 20), 0);
    memcpy(sims[made].config, &sectors, 8);
    devices[made].config_changed = 1;
    assert_int_equal(blkdev_read(b, 0, data, 512), 0);
    assert_int_equal(b->bytes, DISK / 2);
    assert_int_equal(blkdev_read(b, 0, data, 1u << 20), 0);
    free(data);
    made++;
}

static void silence_is_a_time_out_and_the_disk_lives_on(void **state)
{
    (void)state;
    struct blkdev *b = start(VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC);
    uint8_t data[512];
    unsigned resets = sims[made].resets;
    for (int i = 0; i < 40; i++) {
        silent = true;
        assert_int_equal(blkdev_read(b, 0, data, 512), -ETIMEDOUT);
        assert_true(sims[made].resets > resets);
        resets = sims[made].resets;
        silent = false;
        assert_int_equal(blkdev_read(b, 0, data, 512), 0);
    }
    sims[made].stuck_reset = silent = true;
    assert_int_equal(blkdev_read(b, 0, data, 512), -ETIMEDOUT);
    assert_int_equal(blkdev_read(b, 0, data, 512), -EIO);
    assert_true(sims[made].isolated > 0);
    made++;
}

static struct blkdev *second_disk;
static int second_result;
static void ask_a_second_time(void)
{
    uint8_t data[512];
    fake_idle = NULL;
    second_result = blkdev_read(second_disk, 0, data, 512);
}

static void a_reset_ends_the_requests_of_others_at_once(void **state)
{
    (void)state;
    struct blkdev *b = second_disk = start(VIRTIO_F_INDIRECT_DESC);
    uint8_t data[512];
    silent = true;
    fake_idle = ask_a_second_time; // while the first one waits
    uint64_t start_ns = fake_now_ns;
    assert_int_equal(blkdev_read(b, 0, data, 512), -EIO);
    assert_int_equal(second_result, -ETIMEDOUT);
    assert_true(fake_now_ns - start_ns < 2 * TIMEOUT_NS);
    fake_idle = serve;
    silent = false;
    assert_int_equal(blkdev_read(b, 0, data, 512), 0);
    made++;
}

static void a_lying_disk_is_taken_out_of_service(void **state)
{
    (void)state;
    struct blkdev *b = start(0);
    uint8_t data[512];
    lying = true;
    assert_int_equal(blkdev_read(b, 0, data, 512), -EIO);
    assert_non_null(devices[made].broken);
    lying = false;
    assert_int_equal(blkdev_read(b, 0, data, 512), -EIO);
    made++;
}

static void segments_are_whole_blocks_within_limits(void **state)
{
    (void)state;
    static uint8_t data[1 << 16];
    for (int i = 0; i < 20000; i++) {
        size_t from = (size_t)rand() % 5000, bytes = 512u * (1 + (size_t)rand() % 100);
        uint32_t block = 512u << (rand() % 4), limit = 512u + (uint32_t)rand() % 20000;
        unsigned most = 1 + (unsigned)rand() % 16, count;
        bytes = (bytes + block - 1) / block * block;
        struct vq_segment s[16];
        size_t got = blk_segments(data + from, bytes, block, most, limit, s, &count);
        assert_true(got <= bytes && got % block == 0 && count <= most);
        assert_true(got > 0 || most * (uint64_t)limit < block);
        size_t sum = 0;
        for (unsigned k = 0; k < count; k++) {
            assert_true(s[k].bytes > 0 && s[k].bytes <= limit);
            assert_int_equal(s[k].phys, (uintptr_t)data + from + sum);
            sum += s[k].bytes;
        }
        assert_int_equal(sum, got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_goes_out_and_comes_back),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(read_only_disks_are_not_written),
        cmocka_unit_test(a_changed_configuration_leaves_requests_within_the_ring),
        cmocka_unit_test(silence_is_a_time_out_and_the_disk_lives_on),
        cmocka_unit_test(a_reset_ends_the_requests_of_others_at_once),
        cmocka_unit_test(a_lying_disk_is_taken_out_of_service),
        cmocka_unit_test(segments_are_whole_blocks_within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
