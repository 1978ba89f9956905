// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The life cycle: reset, negotiation, configuration reads, failure.
// Links: libos/virtio/device.c libos/virtio/queue.c libos/virtio/queue_split.c
// Links: libos/virtio/queue_packed.c libos/virtio/sim_host.c libos/virtio/fake_host.c
#include "libos/virtio/sim_host.h"

#include "libos/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct virtio_device d;
static struct sim_device s;

static int fresh(void **state)
{
    (void)state;
    sim_device_init(&d, &s, VIRTIO_BLK);
    return 0;
}

static void features_are_the_intersection(void **state)
{
    (void)state;
    s.features |=
        VIRTIO_F(0) | VIRTIO_F(5) | VIRTIO_F_RING_PACKED | VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F(40);
    assert_int_equal(virtio_start(&d, VIRTIO_F(5) | VIRTIO_F(6), 0), 0);
    uint64_t expected =
        VIRTIO_F_VERSION_1 | VIRTIO_F(5) | VIRTIO_F_RING_PACKED | VIRTIO_F_ACCESS_PLATFORM;
    assert_true(d.features == expected);
    assert_true(s.accepted == expected);
    assert_int_equal(s.status,
                     VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    assert_int_equal(virtio_ready(&d), 0);
    assert_true(virtio_healthy(&d));
}

static void legacy_devices_are_refused(void **state)
{
    (void)state;
    s.features = VIRTIO_F(5);
    assert_int_equal(virtio_start(&d, VIRTIO_F(5), 0), -ENOTSUP);
    assert_true(s.status & VIRTIO_STATUS_FAILED);
    assert_int_equal(s.isolated, 1);
}

static void missing_required_feature_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(virtio_start(&d, 0, VIRTIO_F(5)), -ENOTSUP);
    assert_non_null(d.broken);
}

static void refused_features_are_an_error(void **state)
{
    (void)state;
    s.refuse = true;
    assert_int_equal(virtio_start(&d, 0, 0), -ENOTSUP);
    assert_true(s.status & VIRTIO_STATUS_FAILED);
}

static void a_reset_that_hangs_is_given_up(void **state)
{
    (void)state;
    s.stuck_reset = true;
    s.status = 15;
    uint64_t before = fake_now_ns;
    assert_int_equal(virtio_start(&d, 0, 0), -ETIMEDOUT);
    assert_true(fake_now_ns - before < 2 * VIRTIO_RESET_TIMEOUT_NS);
}

static void needs_reset_takes_it_out_of_service(void **state)
{
    (void)state;
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_ready(&d), 0);
    s.status |= VIRTIO_STATUS_NEEDS_RESET;
    assert_false(virtio_healthy(&d));
    assert_true(s.status & VIRTIO_STATUS_FAILED);
    assert_false(virtio_healthy(&d));
}

static void a_vanished_device_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_ready(&d), 0);
    s.status = 0xff;
    assert_false(virtio_healthy(&d));
}

static void configuration_is_of_one_generation(void **state)
{
    (void)state;
    memcpy(s.config + 8, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    uint32_t words[2];
    assert_int_equal(virtio_config_read(&d, 8, words, 2, 4), 0);
    assert_int_equal(words[1], 0x08070605);
    uint8_t mac[6];
    assert_int_equal(virtio_config_read(&d, 9, mac, 6, 1), 0);
    assert_memory_equal(mac, s.config + 9, 6);
    s.generation_step = 1; // never still
    assert_int_equal(virtio_config_read(&d, 8, words, 2, 4), -EIO);
}

static void queues_fit_the_device_and_survive_a_reset(void **state)
{
    (void)state;
    struct vq q = {0};
    s.queue_size = 48; // a split ring is a power of two
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_queue_start(&d, 0, 100, 4, &q), 0);
    assert_int_equal(q.config.size, 32);
    assert_int_equal(q.config.indirect, 0); // not negotiated
    void *ring = q.config.ring;
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_queue_start(&d, 0, 100, 4, &q), 0);
    assert_ptr_equal(q.config.ring, ring);
    s.queue_size = 0;
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_queue_start(&d, 0, 100, 4, &q), -ENOENT);
    s.queue_size = 7;
    s.features |= VIRTIO_F_RING_PACKED;
    assert_int_equal(virtio_start(&d, 0, 0), 0);
    assert_int_equal(virtio_queue_start(&d, 0, 100, 0, &q), 0);
    assert_int_equal(q.config.size, 7); // a packed one need not be
    assert_true(q.config.packed);
    mem_zone_free(q.config.ring);
    free(q.config.slots);
}

static unsigned queue_calls, config_calls;
static void on_queue(void *driver)
{
    (void)driver;
    queue_calls++;
}
static void on_config(void *driver)
{
    (void)driver;
    config_calls++;
}

static void lines_reach_their_handlers(void **state)
{
    (void)state;
    d.on_queue = on_queue;
    d.on_config = on_config;
    static const struct {
        int queue;
        unsigned queues, configs;
    } lines[] = {
        {0, 1, 0}, {VIRTIO_LINE_QUEUES, 1, 0}, {VIRTIO_LINE_CONFIG, 0, 1}, {VIRTIO_LINE_ALL, 1, 1}};
    for (unsigned i = 0; i < 4; i++) {
        queue_calls = config_calls = 0;
        d.config_changed = 0;
        struct virtio_line line = {&d, lines[i].queue};
        virtio_line_interrupt(&line);
        assert_int_equal(queue_calls, lines[i].queues);
        assert_int_equal(config_calls, lines[i].configs);
        assert_int_equal(d.config_changed, lines[i].configs);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        T(features_are_the_intersection),
        T(legacy_devices_are_refused),
        T(missing_required_feature_is_an_error),
        T(refused_features_are_an_error),
        T(a_reset_that_hangs_is_given_up),
        T(needs_reset_takes_it_out_of_service),
        T(a_vanished_device_is_noticed),
        T(configuration_is_of_one_generation),
        T(queues_fit_the_device_and_survive_a_reset),
        T(lines_reach_their_handlers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
