// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The network driver against a simulated device: frames both ways in both ring kinds, merged
// buffers, checksums, several pairs, a full ring, a device that lies.
//
// Links: libos/virtio/net.c libos/virtio/device.c libos/virtio/queue.c libos/virtio/queue_split.c
// Links: libos/virtio/queue_packed.c libos/virtio/sim_host.c libos/virtio/fake_host.c
#include "libos/netdev.h"
#include "libos/virtio/sim_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define F_CSUM       VIRTIO_F(0)
#define F_GUEST_CSUM VIRTIO_F(1)
#define F_MTU        VIRTIO_F(3)
#define F_MAC        VIRTIO_F(5)
#define F_MRG_RXBUF  VIRTIO_F(15)
#define F_STATUS     VIRTIO_F(16)
#define F_CTRL_VQ    VIRTIO_F(17)
#define F_MQ         VIRTIO_F(22)
#define HEADER       12u

void random_bytes(void *out, size_t bytes)
{
    memset(out, 0x5f, bytes);
}

static struct virtio_device devices[8];
static struct sim_device sims[8];
static unsigned made;

static struct netdev *make(uint64_t features)
{
    struct virtio_device *d = &devices[made];
    struct sim_device *s = &sims[made];
    sim_device_init(d, s, VIRTIO_NET);
    s->features |= F_MAC | F_STATUS | features;
    memcpy(s->config, "\x52\x54\x00\x12\x34\x56\x01\x00\x04\x00\xdc\x05", 12); // up, 4 pairs, 1500
    return NULL;
}
static struct netdev *start(void)
{
    assert_int_equal(virtio_net_probe(&devices[made]), 0);
    return netdev_at(netdev_count() - 1);
}

static uint8_t got[70000];
static size_t got_bytes, got_frames;
static bool got_checksum;
static void receive(void *ctx, const struct netdev_frame *frame)
{
    (void)ctx;
    got_bytes = 0;
    for (size_t i = 0; i < frame->segment_count; i++) {
        memcpy(got + got_bytes, frame->segments[i].data, frame->segments[i].bytes);
        got_bytes += frame->segments[i].bytes;
    }
    assert_int_equal(got_bytes, frame->bytes);
    got_checksum = frame->checksum_ok;
    got_frames++;
}

// The device delivers a frame of `bytes`, in as many buffers as it takes.
static void deliver(struct sim_queue *q, const uint8_t *frame, size_t bytes, uint8_t flags,
                    int claim_buffers)
{
    struct sim_chain chains[40];
    unsigned count = 0;
    uint8_t *first = NULL;
    size_t done = 0;
    uint32_t lengths[40];
    while (done < bytes) {
        struct sim_chain *c = &chains[count];
        assert_true(sim_pop(q, c));
        assert_int_equal(c->writable, 1);
        uint8_t *to = (uint8_t *)(uintptr_t)c->segment[0].phys;
        uint32_t head = count == 0 ? HEADER : 0;
        first = count == 0 ? to : first;
        size_t n = c->segment[0].bytes - head;
        n = n < bytes - done ? n : bytes - done;
        memcpy(to + head, frame + done, n);
        done += n;
        lengths[count++] = (uint32_t)n + head;
    }
    memset(first, 0, HEADER);
    first[0] = flags;
    uint16_t buffers = (uint16_t)(claim_buffers >= 0 ? claim_buffers : (int)count);
    memcpy(first + 10, &buffers, 2);
    for (unsigned i = 0; i < count; i++) {
        sim_push(q, &chains[i], lengths[i]);
    }
}

static void frames_go_both_ways(void **state)
{
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        make(F_CSUM | F_GUEST_CSUM | F_MRG_RXBUF | VIRTIO_F_EVENT_IDX |
             (packed ? VIRTIO_F_RING_PACKED : 0));
        struct sim_device *s = &sims[made];
        struct netdev *n = start();
        made++;
        assert_memory_equal(n->mac, "\x52\x54\x00\x12\x34\x56", 6);
        assert_int_equal(n->mtu, 1500);
        assert_true(n->link_up && n->tx_checksum && n->rx_checksum);
        uint8_t frame[1514];
        for (int i = 0; i < 1000; i++) {
            size_t bytes = 14 + (size_t)i % 1500;
            memset(frame, i, sizeof(frame));
            deliver(&s->queue[0], frame, bytes, i % 3 == 0 ? 2 : 0, -1);
            got_frames = 0;
            assert_int_equal(n->poll(n, 16, receive, NULL), 1);
            assert_int_equal(got_frames, 1);
            assert_int_equal(got_bytes, bytes);
            assert_memory_equal(got, frame, bytes);
            assert_int_equal(got_checksum, i % 3 == 0);

            struct netdev_segment parts[2] = {{frame, 10}, {frame + 10, bytes - 10}};
            struct netdev_checksum sum = {bytes > 60, 34, 6};
            assert_int_equal(n->send(n, parts, 2, &sum), 0);
            struct sim_chain c;
            assert_true(sim_pop(&s->queue[1], &c));
            assert_int_equal(c.readable, 1);
            assert_int_equal(c.segment[0].bytes, HEADER + bytes);
            const uint8_t *sent = (const uint8_t *)(uintptr_t)c.segment[0].phys;
            assert_int_equal(sent[0], bytes > 60 ? 1 : 0);
            assert_int_equal(sent[6], bytes > 60 ? 34 : 0);
            assert_memory_equal(sent + HEADER, frame, bytes);
            sim_push(&s->queue[1], &c, 0);
        }
        assert_int_equal(n->rx_frames, 1000);
        assert_int_equal(n->tx_frames, 1000);
        assert_int_equal(n->rx_dropped + n->tx_dropped, 0);
    }
}

static void merged_buffers_become_one_frame(void **state)
{
    (void)state;
    make(F_MRG_RXBUF | F_MTU);
    struct sim_device *s = &sims[made];
    memcpy(s->config + 10, "\x28\x23", 2); // 9000
    struct netdev *n = start();
    made++;
    assert_int_equal(n->mtu, 9000);
    static uint8_t frame[9014];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)(i * 7);
    }
    for (int i = 0; i < 50; i++) {
        deliver(&s->queue[0], frame, sizeof(frame), 0, -1);
        assert_int_equal(n->poll(n, 4, receive, NULL), 1);
        assert_int_equal(got_bytes, sizeof(frame));
        assert_memory_equal(got, frame, sizeof(frame));
    }
    struct netdev_segment one = {frame, sizeof(frame)};
    assert_int_equal(n->send(n, &one, 1, NULL), 0);
    struct netdev_segment big = {frame, 9000 + 14 + 5};
    assert_int_equal(n->send(n, &big, 1, NULL), -EMSGSIZE);
    struct netdev_segment small = {frame, 13};
    assert_int_equal(n->send(n, &small, 1, NULL), -EMSGSIZE);
    // More buffers announced than there are: the frame is dropped, the buffers come back.
    deliver(&s->queue[0], frame, 3000, 0, 5);
    got_frames = 0;
    assert_int_equal(n->poll(n, 4, receive, NULL), 1);
    assert_int_equal(got_frames, 0);
    deliver(&s->queue[0], frame, 100, 0, 0);
    assert_int_equal(n->poll(n, 4, receive, NULL), 1);
    deliver(&s->queue[0], frame, 100, 0, 65535);
    assert_int_equal(n->poll(n, 4, receive, NULL), 1);
    assert_int_equal(n->rx_dropped, 3);
    // Or more buffers announced than a frame may have, all of them there.
    deliver(&s->queue[0], frame, 100, 0, 45);
    for (int i = 0; i < 50; i++) {
        deliver(&s->queue[0], frame, 100, 0, -1);
    }
    assert_int_equal(n->poll(n, 64, receive, NULL), 51);
    assert_int_equal(n->rx_dropped, 4);
    got_frames = 0;
    deliver(&s->queue[0], frame, 100, 0, -1);
    assert_int_equal(n->poll(n, 4, receive, NULL), 1);
    assert_int_equal(got_frames, 1);
}

static void budget_bounds_a_poll_and_arms_after_it(void **state)
{
    (void)state;
    make(VIRTIO_F_EVENT_IDX);
    struct sim_device *s = &sims[made];
    struct netdev *n = start();
    made++;
    uint8_t frame[60] = {0};
    sim_interrupt_due(&s->queue[0]);
    for (int i = 0; i < 5; i++) {
        deliver(&s->queue[0], frame, 60, 0, -1);
    }
    assert_true(sim_interrupt_due(&s->queue[0])); // armed at start
    assert_int_equal(n->poll(n, 3, receive, NULL), 3);
    deliver(&s->queue[0], frame, 60, 0, -1);
    assert_false(sim_interrupt_due(&s->queue[0])); // full budget: not armed
    assert_int_equal(n->poll(n, 16, receive, NULL), 3);
    deliver(&s->queue[0], frame, 60, 0, -1);
    assert_true(sim_interrupt_due(&s->queue[0]));
}

static void a_full_ring_is_eagain_and_recovers(void **state)
{
    (void)state;
    make(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED);
    struct sim_device *s = &sims[made];
    struct netdev *n = start();
    made++;
    uint8_t frame[60] = {0};
    struct netdev_segment one = {frame, 60};
    for (int lap = 0; lap < 3; lap++) {
        unsigned sent = 0;
        while (n->send(n, &one, 1, NULL) == 0) {
            sent++;
            assert_true(sent < 1000);
        }
        assert_int_equal(sent, 32);
        assert_int_equal(n->poll(n, 16, receive, NULL), 0); // arms the transmit interrupt
        struct sim_chain c;
        sim_interrupt_due(&s->queue[1]);
        while (sim_pop(&s->queue[1], &c)) {
            sim_push(&s->queue[1], &c, 0);
        }
        assert_true(sim_interrupt_due(&s->queue[1]));
        n->poll(n, 16, receive, NULL);
    }
}

static unsigned control_seen;
static void answer_control(struct sim_device *s, unsigned index)
{
    if (index != 8) {
        return;
    }
    struct sim_chain c;
    assert_true(sim_pop(&s->queue[8], &c));
    assert_int_equal(c.readable, 2);
    assert_int_equal(c.writable, 1);
    const uint8_t *command = (const uint8_t *)(uintptr_t)c.segment[0].phys;
    const uint8_t *pairs = (const uint8_t *)(uintptr_t)c.segment[1].phys;
    assert_int_equal(command[0], 4);
    assert_int_equal(command[1], 0);
    assert_int_equal(pairs[0], 2);
    *(uint8_t *)(uintptr_t)c.segment[2].phys = 0;
    sim_push(&s->queue[8], &c, 1);
    control_seen++;
}

static void several_pairs_are_asked_for_and_served(void **state)
{
    (void)state;
    fake_cpus = 2;
    fake_cmdline = "net.queues=2 net.buffers=16";
    make(F_MQ | F_CTRL_VQ | F_MRG_RXBUF);
    struct sim_device *s = &sims[made];
    s->on_notify = answer_control;
    struct netdev *n = start();
    made++;
    fake_cpus = 1;
    fake_cmdline = "";
    assert_int_equal(control_seen, 1);
    assert_int_equal(n->queue_pairs, 2);
    uint8_t frame[60] = {0};
    deliver(&s->queue[0], frame, 60, 0, -1);
    deliver(&s->queue[2], frame, 60, 0, -1);
    assert_int_equal(n->poll(n, 16, receive, NULL), 2);
    unsigned used[2] = {0};
    for (unsigned i = 0; i < 16; i++) {
        frame[34] = (uint8_t)(i * 37);
        struct netdev_segment one = {frame, 60};
        assert_int_equal(n->send(n, &one, 1, NULL), 0);
        struct sim_chain c;
        for (unsigned k = 0; k < 2; k++) {
            while (sim_pop(&s->queue[2 * k + 1], &c)) {
                sim_push(&s->queue[2 * k + 1], &c, 0);
                used[k]++;
            }
        }
    }
    assert_int_equal(used[0] + used[1], 16);
    assert_true(used[0] && used[1]);
}

static void a_lying_device_is_taken_out_of_service(void **state)
{
    (void)state;
    make(0);
    struct sim_device *s = &sims[made];
    struct netdev *n = start();
    struct virtio_device *d = &devices[made++];
    sim_push_raw(&s->queue[0], 0, 2049, 1);
    assert_int_equal(n->poll(n, 16, receive, NULL), 0);
    assert_non_null(d->broken);
    assert_false(n->link_up);
    assert_int_equal(s->isolated, 1);
    uint8_t frame[60] = {0};
    struct netdev_segment one = {frame, 60};
    assert_int_equal(n->send(n, &one, 1, NULL), -EAGAIN);
    assert_int_equal(n->poll(n, 16, receive, NULL), 0);
}

static void link_changes_are_noticed(void **state)
{
    (void)state;
    struct netdev *n = netdev_at(0);
    struct virtio_device *d = &devices[0];
    sims[0].config[6] = 0;
    d->config_changed = 1;
    n->poll(n, 1, receive, NULL);
    assert_false(n->link_up);
    sims[0].config[6] = 1;
    d->config_changed = 1;
    n->poll(n, 1, receive, NULL);
    assert_true(n->link_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(merged_buffers_become_one_frame),
        cmocka_unit_test(budget_bounds_a_poll_and_arms_after_it),
        cmocka_unit_test(a_full_ring_is_eagain_and_recovers),
        cmocka_unit_test(several_pairs_are_asked_for_and_served),
        cmocka_unit_test(link_changes_are_noticed),
        cmocka_unit_test(a_lying_device_is_taken_out_of_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
