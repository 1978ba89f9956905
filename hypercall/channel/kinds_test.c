// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What each kind of channel promises, stepped by one thread: order, ownership in place, waiting
// when full, overwriting, receivers that come and go.
//
// Links: hypercall/channel/layout.c hypercall/channel/attach.c hypercall/channel/session.c
// Links: hypercall/channel/hub.c hypercall/channel/send.c hypercall/channel/receive.c
// Links: tensor/quant/types.c
#include "hypercall/channel/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MS 1000000ull

static uint8_t *block;
static size_t block_bytes;
static struct channel *end[HC_CHANNEL_MAX_ENDS];

static struct channel *attach(uint32_t number)
{
    char error[160] = "";
    int e = channel_attach(block, block_bytes, number, &fake_port, &fake_options, &end[number],
                           error, sizeof(error));
    if (e) {
        fail_msg("attach %u: %d, %s", number, e, error);
    }
    fake_living[number] = end[number];
    return end[number];
}

// Steps everybody until all are connected.
static void connect_all(uint32_t ends)
{
    for (uint32_t round = 0; round < 8; round++) {
        uint32_t connected = 0;
        for (uint32_t i = 0; i < ends; i++) {
            connected += end[i]->live && (!end[i]->hub || channel_receivers(end[i]) == ends - 1);
            if (!end[i]->live || end[i]->hub) {
                int e = channel_connect(end[i], 0);
                assert_true(e == 0 || e == -ETIMEDOUT);
            }
        }
        if (connected == ends) {
            return;
        }
    }
    fail_msg("they do not come together");
}

static void open_channel(uint32_t kind, uint32_t ends, uint32_t slots, uint64_t slot_bytes)
{
    struct channel_format f = {kind, ends, slots, slot_bytes};
    block = fake_block(&f, &block_bytes);
    for (uint32_t i = 0; i < ends; i++) {
        attach(i);
    }
    connect_all(ends);
}

static int close_channel(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HC_CHANNEL_MAX_ENDS; i++) {
        channel_close(end[i]);
        end[i] = fake_living[i] = NULL;
    }
    free(block);
    block = NULL;
    return 0;
}

// The application vanishes: nobody beats, nothing is said.
static void kill_end(uint32_t number)
{
    fake_living[number] = NULL;
    // The memory of a process that was killed is gone, but the block keeps what it wrote.
    struct channel *c = end[number];
    end[number] = NULL;
    uint64_t owner = c->owner;
    c->owner = ~owner;
    channel_close(c);
}

static int send_u32(struct channel *c, uint32_t value)
{
    struct channel_tensor t;
    int e = channel_lend(c, 0, &t);
    if (e) {
        return e;
    }
    t.type = TN_I32;
    t.shape[0] = 1;
    t.tag = value * 3;
    memcpy(t.data, &value, sizeof(value));
    return channel_send(c, &t);
}

static uint32_t value_of(const struct channel_tensor *t)
{
    uint32_t value;
    assert_int_equal(t->type, TN_I32);
    assert_int_equal(t->bytes, 4);
    memcpy(&value, t->data, sizeof(value));
    assert_int_equal(t->tag, value * 3);
    return value;
}

static void must_receive(struct channel *c, uint32_t wanted)
{
    struct channel_tensor t;
    int e = channel_receive(c, 0, &t);
    if (e) {
        fail_msg("receive: %d, %s", e, channel_reason(c));
    }
    assert_int_equal(value_of(&t), wanted);
    assert_int_equal(channel_release(c, &t), 0);
}

static void pipe_keeps_order_and_waits_when_full(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 3, 128);
    struct channel_tensor t;
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(send_u32(end[0], round * 3 + i), 0);
        }
        assert_int_equal(send_u32(end[0], 99), -ETIMEDOUT);
        assert_int_equal(channel_drain(end[0], 0), -ETIMEDOUT);
        for (uint32_t i = 0; i < 3; i++) {
            must_receive(end[1], round * 3 + i);
        }
        assert_int_equal(channel_receive(end[1], 3 * MS, &t), -ETIMEDOUT);
        assert_int_equal(channel_drain(end[0], 0), 0);
    }
}

static void data_is_not_copied_and_may_be_released_in_any_order(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 4, 4096);
    struct channel_tensor s[4], r[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(channel_lend(end[0], 0, &s[i]), 0);
        assert_int_equal(s[i].room, 4096);
        s[i].type = TN_Q8_0;
        s[i].dims = 2;
        s[i].shape[0] = 64;
        s[i].shape[1] = 3;
    }
    void *at[4];
    for (unsigned i = 0; i < 4; i++) {
        at[i] = s[i].data;
        assert_int_equal(channel_send(end[0], &s[i]), 0);
        assert_null(s[i].data);
        assert_int_equal(channel_send(end[0], &s[i]), -ENOTCONN); // no longer the sender's
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(channel_receive(end[1], 0, &r[i]), 0);
        assert_ptr_equal(r[i].data, at[i]);
        assert_int_equal(r[i].bytes, 3 * 2 * 34);
        assert_int_equal(r[i].shape[1], 3);
        assert_int_equal(r[i].shape[2], 1);
    }
    const unsigned order[4] = {2, 0, 3, 1};
    for (unsigned i = 0; i < 4; i++) {
        struct channel_tensor again = r[order[i]];
        assert_int_equal(channel_release(end[1], &r[order[i]]), 0);
        assert_int_equal(channel_release(end[1], &again), -EINVAL);
        assert_int_equal(channel_lend(end[0], 0, &s[i]), 0);
        assert_ptr_equal(s[i].data, at[order[i]]);
    }
    // An unsent one goes back, and is lent again.
    assert_int_equal(channel_release(end[0], &s[0]), 0);
    assert_int_equal(channel_lend(end[0], 0, &s[0]), 0);
    assert_ptr_equal(s[0].data, at[2]);
}

static void wrong_tensors_are_refused_and_stay_the_callers(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 2, 256);
    struct channel_tensor t;
    assert_int_equal(channel_lend(end[0], 0, &t), 0);
    static const struct {
        uint32_t type, dims;
        uint64_t shape[4];
    } wrong[] = {
        {TN_F32, 1, {65, 1, 1, 1}},
        {TN_F32, 0, {1, 1, 1, 1}},
        {TN_F32, 5, {1, 1, 1, 1}},
        {TN_F32, 1, {0, 1, 1, 1}},
        {TN_F32, 1, {1, 2, 1, 1}},
        {TN_Q8_0, 1, {33, 1, 1, 1}},
        {4, 1, {1, 1, 1, 1}},
        {TN_PACKED, 1, {1, 1, 1, 1}},
        {TN_F32, 4, {1ull << 40, 1ull << 20, 1ull << 20, 1}},
        {TN_F64, 1, {1ull << 61, 1, 1, 1}},
        {TN_F64, 1, {(1ull << 61) + 4, 1, 1, 1}},
        {TN_Q8_0, 1, {UINT64_MAX / 32 * 32, 1, 1, 1}},
        {TN_F32, 4, {4, 1ull << 60, 1ull << 4, 1}},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        t.type = wrong[i].type;
        t.dims = wrong[i].dims;
        memcpy(t.shape, wrong[i].shape, sizeof(t.shape));
        if (channel_send(end[0], &t) != -EINVAL) {
            fail_msg("case %zu was sent", i);
        }
    }
    t.type = TN_F32;
    t.dims = 4;
    t.shape[0] = 4, t.shape[1] = 4, t.shape[2] = 2, t.shape[3] = 2;
    assert_int_equal(channel_send(end[0], &t), 0);
    assert_int_equal(channel_receive(end[1], 0, &t), 0);
    assert_int_equal(t.bytes, 256);
}

static void a_row_of_ends_hands_the_same_slot_on(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 4, 2, 128);
    struct channel_tensor t, mine;
    for (uint32_t round = 0; round < 20; round++) {
        assert_int_equal(send_u32(end[0], round), 0);
        assert_int_equal(send_u32(end[0], round + 1000), 0);
        for (uint32_t half = 0; half < 2; half++) {
            const void *data = NULL;
            for (uint32_t i = 1; i < 3; i++) {
                assert_int_equal(channel_lend(end[i], 0, &mine), -EINVAL);
                assert_int_equal(channel_receive(end[i], 0, &t), 0);
                assert_true(data == NULL || data == t.data);
                data = t.data;
                uint32_t value = value_of(&t) + 1;
                memcpy(t.data, &value, 4); // works in place
                t.tag = value * 3;
                assert_int_equal(channel_send(end[i], &t), 0);
            }
            must_receive(end[3], round + half * 1000 + 2);
        }
        assert_int_equal(channel_drain(end[0], 0), -ETIMEDOUT); // the middle has not looked yet
        assert_int_equal(channel_drain(end[2], 0), 0);
        assert_int_equal(channel_drain(end[1], 0), 0);
        assert_int_equal(channel_drain(end[0], 0), 0);
    }
    // One in the middle may keep a tensor for itself.
    assert_int_equal(send_u32(end[0], 7), 0);
    assert_int_equal(channel_receive(end[1], 0, &t), 0);
    assert_int_equal(channel_release(end[1], &t), 0);
    assert_int_equal(channel_drain(end[0], 0), 0);
}

static void bidirectional_is_a_pipe_each_way(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_BIDIRECTIONAL, 2, 2, 128);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(send_u32(end[0], i), 0);
        assert_int_equal(send_u32(end[1], i + 500), 0);
        assert_int_equal(send_u32(end[1], i + 600), 0);
        assert_int_equal(send_u32(end[1], i), -ETIMEDOUT);
        must_receive(end[1], i);
        must_receive(end[0], i + 500);
        must_receive(end[0], i + 600);
    }
}

static void broadcast_reaches_all_and_waits_for_the_slowest(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_BROADCAST, 4, 2, 128);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(send_u32(end[0], 2 * i), 0);
        assert_int_equal(send_u32(end[0], 2 * i + 1), 0);
        must_receive(end[1], 2 * i);
        must_receive(end[1], 2 * i + 1);
        must_receive(end[2], 2 * i);
        must_receive(end[2], 2 * i + 1);
        assert_int_equal(send_u32(end[0], 9), -ETIMEDOUT); // end 3 has both
        must_receive(end[3], 2 * i);
        must_receive(end[3], 2 * i + 1);
    }
}

static void a_dead_receiver_does_not_hold_up_the_others(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_BROADCAST, 3, 2, 128);
    struct channel_tensor t;
    assert_int_equal(send_u32(end[0], 1), 0);
    assert_int_equal(send_u32(end[0], 2), 0);
    must_receive(end[1], 1);
    must_receive(end[1], 2);
    assert_int_equal(channel_receive(end[2], 0, &t), 0);
    kill_end(2);
    uint64_t before = fake_ns;
    assert_int_equal(channel_lend(end[0], 10000 * MS, &t), 0);
    assert_in_range(fake_ns - before, 2000 * MS, 2700 * MS);
    assert_int_equal(channel_release(end[0], &t), 0);
    assert_int_equal(channel_receivers(end[0]), 1);
    assert_int_equal(send_u32(end[0], 3), 0);
    must_receive(end[1], 3);
    // It comes back, and sees what is sent from then on.
    attach(2);
    connect_all(3);
    assert_int_equal(send_u32(end[0], 4), 0);
    must_receive(end[1], 4);
    must_receive(end[2], 4);
    // One that restarts before anybody has noticed gives back what it held.
    assert_int_equal(send_u32(end[0], 5), 0);
    must_receive(end[1], 5);
    assert_int_equal(channel_receive(end[2], 0, &t), 0);
    kill_end(2);
    attach(2);
    connect_all(3);
    assert_int_equal(channel_drain(end[0], 0), 0);
    assert_int_equal(send_u32(end[0], 6), 0);
    must_receive(end[2], 6);
}

static void who_is_cut_off_learns_that_what_it_read_may_be_torn(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_BROADCAST, 3, 2, 128);
    struct channel_tensor t;
    assert_int_equal(send_u32(end[0], 1), 0);
    assert_int_equal(channel_receive(end[2], 0, &t), 0);
    assert_int_equal(channel_drop(end[0], 2), 0);
    assert_int_equal(channel_release(end[2], &t), -ENOTCONN);
    assert_int_equal(channel_receive(end[2], 0, &t), -ENOTCONN);
    must_receive(end[1], 1);
    connect_all(3);
    assert_int_equal(send_u32(end[0], 2), 0);
    must_receive(end[2], 2);
}

static void ring_never_waits_and_counts_what_was_lost(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_RING, 2, 4, 128);
    struct channel_tensor t, held;
    uint32_t next = 0;
    for (; next < 10; next++) {
        assert_int_equal(send_u32(end[0], next), 0);
    }
    assert_int_equal(channel_receive(end[1], 0, &held), 0); // 6, the oldest of four
    assert_int_equal(value_of(&held), 6);
    assert_int_equal(held.lost, 6);
    for (; next < 40; next++) {
        assert_int_equal(send_u32(end[0], next), 0);
        assert_int_equal(value_of(&held), 6); // is left alone while it is held
    }
    assert_int_equal(channel_receive(end[1], 0, &t), 0);
    assert_int_equal(value_of(&t), 37); // three slots are left to the sender
    assert_int_equal(t.lost, 30);
    struct channel_tensor more;
    assert_int_equal(channel_receive(end[1], 0, &more), -ENOBUFS); // half are held
    assert_int_equal(channel_release(end[1], &held), 0);
    assert_int_equal(channel_release(end[1], &t), 0);
    must_receive(end[1], 38);
    must_receive(end[1], 39);
    assert_int_equal(channel_receive(end[1], 0, &t), -ETIMEDOUT);
    // Lent slots are the sender's own limit.
    struct channel_tensor lent[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(channel_lend(end[0], 0, &lent[i]), 0);
    }
    assert_int_equal(channel_lend(end[0], 1000 * MS, &t), -ENOBUFS);
}

static void ring_without_a_receiver_goes_on(void **state)
{
    (void)state;
    struct channel_format f = {HC_CHANNEL_RING, 2, 2, 128};
    block = fake_block(&f, &block_bytes);
    attach(0);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(send_u32(end[0], i), 0);
    }
    attach(1);
    connect_all(2);
    assert_int_equal(send_u32(end[0], 50), 0);
    must_receive(end[1], 50); // from when it joined
    assert_int_equal(send_u32(end[0], 51), 0);
    kill_end(1);
    for (uint32_t i = 0; i < 1000; i++) {
        fake_rest(NULL, 5 * MS);
        assert_int_equal(send_u32(end[0], i), 0);
    }
    assert_int_equal(channel_receivers(end[0]), 0);
    attach(1);
    connect_all(2);
    assert_int_equal(send_u32(end[0], 60), 0);
    must_receive(end[1], 60);
}

static void a_session_that_is_over_delivers_nothing_more(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 4, 128);
    struct channel_tensor t, held, lent;
    // The sender dies with two tensors under way and one half-filled.
    assert_int_equal(send_u32(end[0], 1), 0);
    assert_int_equal(send_u32(end[0], 2), 0);
    assert_int_equal(channel_lend(end[0], 0, &lent), 0);
    kill_end(0);
    must_receive(end[1], 1);
    assert_int_equal(channel_receive(end[1], 0, &held), 0); // what was sent whole still comes
    uint64_t before = fake_ns;
    assert_int_equal(channel_receive(end[1], 60000 * MS, &t), -EPIPE);
    assert_in_range(fake_ns - before, 2000 * MS, 2700 * MS);
    assert_int_equal(channel_receive(end[1], 0, &t), -ENOTCONN);
    assert_int_equal(channel_release(end[1], &held), -ENOTCONN);
    attach(0);
    connect_all(2);
    assert_int_equal(channel_receive(end[1], 0, &t), -ETIMEDOUT);
    assert_int_equal(channel_release(end[1], &held), -ENOTCONN);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(send_u32(end[0], i + 10), 0);
    }
    // The receiver dies with one held; the sender waits for a slot.
    assert_int_equal(channel_receive(end[1], 0, &held), 0);
    kill_end(1);
    assert_int_equal(channel_lend(end[0], 60000 * MS, &t), -EPIPE);
    attach(1);
    connect_all(2);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(send_u32(end[0], i + 20), 0);
    }
    must_receive(end[1], 20);
    // One that restarts before the other has noticed.
    kill_end(1);
    fake_living[1] = NULL;
    attach(1);
    assert_int_equal(send_u32(end[0], 30), -ENOTCONN);
    connect_all(2);
    assert_int_equal(send_u32(end[0], 31), 0);
    must_receive(end[1], 31);
}

static void a_row_that_breaks_anywhere_starts_clean(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 4, 3, 128);
    for (uint32_t dead = 0; dead < 4; dead++) {
        struct channel_tensor t;
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(send_u32(end[0], 100 * dead + i), 0);
        }
        for (uint32_t i = 1; i < 3; i++) {
            assert_int_equal(channel_receive(end[i], 0, &t), 0);
            assert_int_equal(channel_send(end[i], &t), 0);
        }
        kill_end(dead);
        for (uint32_t i = 0; i < 4; i++) { // its neighbours notice; then theirs
            uint32_t next = (dead + 1 + i) % 4;
            if (next != dead) {
                int e = 0;
                while (e == 0) {
                    e = next == 0 ? channel_lend(end[0], 5000 * MS, &t)
                                  : channel_receive(end[next], 5000 * MS, &t);
                }
                if (e != -EPIPE && e != -ENOTCONN && e != -ETIMEDOUT) {
                    fail_msg("end %u: %d %s", next, e, channel_reason(end[next]));
                }
            }
        }
        attach(dead);
        // Whoever has not noticed yet does so from its neighbour's hello.
        for (uint32_t round = 0; round < 4; round++) {
            for (uint32_t i = 0; i < 4; i++) {
                if (end[i]->live) {
                    channel_drain(end[i], 0);
                } else {
                    channel_connect(end[i], 0);
                }
            }
        }
        connect_all(4);
        assert_int_equal(send_u32(end[0], 7), 0);
        for (uint32_t i = 1; i < 3; i++) {
            assert_int_equal(channel_receive(end[i], 0, &t), 0);
            assert_int_equal(value_of(&t), 7);
            assert_int_equal(channel_send(end[i], &t), 0);
        }
        must_receive(end[3], 7);
        for (uint32_t i = 3; i-- > 0;) {
            assert_int_equal(channel_drain(end[i], 0), 0);
        }
    }
}

static void closing_delivers_what_was_sent(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 4, 128);
    struct channel_tensor t;
    assert_int_equal(send_u32(end[0], 1), 0);
    assert_int_equal(send_u32(end[0], 2), 0);
    channel_close(end[0]);
    end[0] = fake_living[0] = NULL;
    must_receive(end[1], 1);
    must_receive(end[1], 2);
    assert_int_equal(channel_receive(end[1], 9000 * MS, &t), -ESHUTDOWN);
    attach(0); // at once: nobody to wait for
    assert_int_equal(channel_connect(end[1], 0), -ETIMEDOUT);
    connect_all(2);
    channel_close(end[1]);
    end[1] = fake_living[1] = NULL;
    assert_int_equal(send_u32(end[0], 3), -ESHUTDOWN);
}

static void an_end_has_one_owner(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 2, 128);
    char error[160];
    struct channel *second, *old = end[0];
    struct channel_tensor t;
    assert_int_equal(channel_attach(block, block_bytes, 0, &fake_port, &fake_options, &second,
                                    error, sizeof(error)),
                     -EBUSY);
    // Its owner stands still for so long that another takes over; then it wakes up.
    fake_living[0] = NULL;
    attach(0);
    assert_int_equal(channel_receive(end[1], 0, &t), -ENOTCONN);
    connect_all(2);
    assert_int_equal(channel_lend(old, 0, &t), -ESTALE);
    assert_int_equal(channel_beat(old), -ESTALE);
    assert_int_equal(channel_connect(old, 0), -ESTALE);
    channel_close(old);
    assert_int_equal(send_u32(end[0], 5), 0);
    must_receive(end[1], 5);
}

static void an_end_that_stood_still_itself_does_not_take_its_peer_for_dead(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2, 2, 128);
    struct channel_tensor t;
    for (unsigned i = 0; i < 3; i++) { // the whole machine was stopped: nobody could beat
        fake_ns += 3600 * 1000 * MS;
        assert_int_equal(channel_receive(end[1], 0, &t), -ETIMEDOUT);
    }
    fake_rest(NULL, 0);
    assert_int_equal(channel_receive(end[1], 3000 * MS, &t), -ETIMEDOUT);
    assert_int_equal(send_u32(end[0], 5), 0);
    must_receive(end[1], 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_teardown(name, close_channel)
        T(pipe_keeps_order_and_waits_when_full),
        T(data_is_not_copied_and_may_be_released_in_any_order),
        T(wrong_tensors_are_refused_and_stay_the_callers),
        T(a_row_of_ends_hands_the_same_slot_on),
        T(bidirectional_is_a_pipe_each_way),
        T(broadcast_reaches_all_and_waits_for_the_slowest),
        T(a_dead_receiver_does_not_hold_up_the_others),
        T(who_is_cut_off_learns_that_what_it_read_may_be_torn),
        T(ring_never_waits_and_counts_what_was_lost),
        T(ring_without_a_receiver_goes_on),
        T(a_session_that_is_over_delivers_nothing_more),
        T(a_row_that_breaks_anywhere_starts_clean),
        T(closing_delivers_what_was_sent),
        T(an_end_has_one_owner),
        T(an_end_that_stood_still_itself_does_not_take_its_peer_for_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
