// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A peer that lies: every field that this end reads from the block is set to what no honest peer
// writes there. This end must refuse with words, close, and believe nothing more; a receiver of a
// BROADCAST that lies is cut off and nobody else notices.
//
// Links: hypercall/channel/layout.c hypercall/channel/attach.c hypercall/channel/session.c
// Links: hypercall/channel/hub.c hypercall/channel/send.c hypercall/channel/receive.c
// Links: tensor/quant/types.c
#include "hypercall/channel/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SLOTS 4u

static uint8_t *block;
static size_t block_bytes;
static struct channel *end[HC_CHANNEL_MAX_ENDS];

static void open_channel(uint32_t kind, uint32_t ends)
{
    struct channel_format f = {kind, ends, SLOTS, 4096};
    char error[160];
    block = fake_block(&f, &block_bytes);
    for (uint32_t i = 0; i < ends; i++) {
        assert_int_equal(channel_attach(block, block_bytes, i, &fake_port, &fake_options, &end[i],
                                        error, sizeof(error)),
                         0);
        fake_living[i] = end[i];
    }
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < ends; i++) {
            if (!end[i]->live || end[i]->hub) {
                channel_connect(end[i], 0);
            }
        }
    }
    for (uint32_t i = 0; i < ends; i++) {
        assert_true(end[i]->live);
    }
}

static void close_channel(void)
{
    for (uint32_t i = 0; i < HC_CHANNEL_MAX_ENDS; i++) {
        channel_close(end[i]);
        end[i] = fake_living[i] = NULL;
    }
    free(block);
}

static void send_one(struct channel *c)
{
    struct channel_tensor t;
    assert_int_equal(channel_lend(c, 0, &t), 0);
    t.type = TN_F32;
    t.dims = 2;
    t.shape[0] = 32;
    t.shape[1] = 8;
    assert_int_equal(channel_send(c, &t), 0);
}

// ---- a sender that lies ------------------------------------------------------------------------
enum { TAIL, SEQUENCE, OFFSET, BYTES, SHAPE0, SHAPE1, SHAPE2, TYPE, DIMS, HEAD, FIELDS };
static const char *const field_names[FIELDS] = {"tail",     "sequence", "offset",   "bytes",
                                                "shape[0]", "shape[1]", "shape[2]", "type",
                                                "dims",     "head"};

static void lie(enum hc_channel_kind kind, unsigned field, uint64_t value, bool add)
{
    struct lane *l = &end[1]->in;
    struct hc_channel_tensor *t = &l->tensors[l->position % SLOTS];
    uint64_t *words[FIELDS] = {
        [TAIL] = &l->source->tail, [SEQUENCE] = &t->sequence, [OFFSET] = &t->offset,
        [BYTES] = &t->bytes,       [SHAPE0] = &t->shape[0],   [SHAPE1] = &t->shape[1],
        [SHAPE2] = &t->shape[2],   [HEAD] = &l->sink->head,
    };
    (void)kind;
    if (field == TYPE) {
        t->type = (uint16_t)value;
    } else if (field == DIMS) {
        t->dims = (uint16_t)value;
    } else {
        *words[field] = add ? *words[field] + value : value;
    }
}

struct falsehood {
    unsigned field;
    uint64_t value;
    bool add;
};
static const struct falsehood falsehoods[] = {
    {TAIL, SLOTS, true}, // with the one that was sent: one more than there are slots
    {TAIL, UINT64_MAX, false},
    {TAIL, 0, false},
    {TAIL, UINT64_MAX - 1, true},
    {SEQUENCE, 1, true},
    {SEQUENCE, UINT64_MAX, true},
    {OFFSET, 0, false},
    {OFFSET, 1, true},
    {OFFSET, 128, true},
    {OFFSET, UINT64_MAX, true},
    {OFFSET, UINT64_MAX - 4095, true}, // the slot that is held; before the first one
    {OFFSET, SLOTS * 4096, true},
    {OFFSET, (SLOTS - 1) * 4096, true}, // slot 1 was sent: the first one past the last
    {OFFSET, UINT64_MAX, false},
    {OFFSET, 1ull << 63, false},
    {BYTES, 1, true},
    {BYTES, 0, false},
    {BYTES, UINT64_MAX, false},
    {SHAPE0, 0, false},
    {SHAPE0, 33, false},
    {SHAPE0, UINT64_MAX, false},
    {SHAPE0, 1ull << 62, false},
    {SHAPE1, 0, false},
    {SHAPE1, 1ull << 58, false},
    {SHAPE1, UINT64_MAX, false},
    {SHAPE2, 2, false},
    {SHAPE2, 0, false},
    {TYPE, 4, false},
    {TYPE, 63, false},
    {TYPE, 0xffff, false},
    {TYPE, TN_F64, false},
    {TYPE, TN_PACKED, false},
    {DIMS, 0, false},
    {DIMS, 5, false},
    {DIMS, 1, false},
    {DIMS, 0xffff, false},
    {HEAD, UINT64_MAX, true}, // RING only
    {HEAD, 2, true},
    {HEAD, 1ull << 40, false},
};

static void receiver_refuses(uint32_t kind, uint32_t ends)
{
    for (size_t i = 0; i < sizeof(falsehoods) / sizeof(falsehoods[0]); i++) {
        const struct falsehood *f = &falsehoods[i];
        if (f->field == HEAD && kind != HC_CHANNEL_RING) {
            continue; // only written by this end
        }
        open_channel(kind, ends);
        struct channel_tensor held, t;
        send_one(end[0]);
        assert_int_equal(channel_receive(end[1], 0, &held), 0);
        send_one(end[0]);
        lie(kind, f->field, f->value, f->add);
        int e = channel_receive(end[1], 0, &t);
        if (e != -EPROTO || strstr(channel_reason(end[1]), "broke the rules: ") == NULL) {
            fail_msg("kind %u, %s %s %llx: %d (%s)", kind, field_names[f->field],
                     f->add ? "+" : "=", (unsigned long long)f->value, e, channel_reason(end[1]));
        }
        assert_int_equal(channel_receive(end[1], 0, &t), -EPROTO);
        assert_int_equal(channel_release(end[1], &held), -EPROTO);
        assert_int_equal(channel_connect(end[1], 0), -EPROTO);
        assert_int_equal(end[0]->ends[1].state, HC_END_CLOSED);
        close_channel();
    }
}

static void a_receiver_refuses_every_false_field(void **state)
{
    (void)state;
    receiver_refuses(HC_CHANNEL_PIPE, 2);
    receiver_refuses(HC_CHANNEL_PIPE, 3);
    receiver_refuses(HC_CHANNEL_BIDIRECTIONAL, 2);
    receiver_refuses(HC_CHANNEL_BROADCAST, 3);
    receiver_refuses(HC_CHANNEL_RING, 2);
}

static void a_slot_that_is_held_cannot_come_again(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 2);
    struct channel_tensor held, t;
    send_one(end[0]);
    send_one(end[0]);
    assert_int_equal(channel_receive(end[1], 0, &held), 0);
    struct lane *l = &end[1]->in;
    l->tensors[1].offset = l->tensors[0].offset;
    assert_int_equal(channel_receive(end[1], 0, &t), -EPROTO);
    close_channel();
}

static void a_slot_that_was_passed_on_cannot_come_again(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_PIPE, 3);
    struct channel_tensor t;
    send_one(end[0]);
    send_one(end[0]);
    assert_int_equal(channel_receive(end[1], 0, &t), 0);
    assert_int_equal(channel_send(end[1], &t), 0);
    struct lane *l = &end[1]->in;
    l->tensors[1].offset = l->tensors[0].offset;
    assert_int_equal(channel_receive(end[1], 0, &t), -EPROTO);
    close_channel();
}

// ---- a receiver that lies ----------------------------------------------------------------------
static void set_returned(struct lane *l, uint64_t value)
{
    l->sink->returned = value;
}
static void too_many(struct lane *l)
{
    set_returned(l, SLOTS + 1);
}
static void backwards(struct lane *l)
{
    set_returned(l, UINT64_MAX);
}
static void unknown_slot(struct lane *l)
{
    l->returns[0] = SLOTS;
    set_returned(l, 1);
}
static void far_slot(struct lane *l)
{
    l->returns[0] = UINT32_MAX;
    set_returned(l, 1);
}
static void free_slot(struct lane *l)
{
    l->returns[0] = 3; // never sent
    set_returned(l, 1);
}
static void twice(struct lane *l)
{
    l->returns[0] = l->returns[1] = 0;
    set_returned(l, 2);
}
static void head_ahead(struct lane *l)
{
    l->sink->head = 1000;
}
static void head_back(struct lane *l)
{
    l->sink->head = UINT64_MAX;
}
static void unread(struct lane *l) // gives back what it has not taken
{
    l->returns[0] = 0;
    l->sink->head = 0;
    set_returned(l, 1);
}

static const struct {
    const char *name;
    void (*lie)(struct lane *l);
    bool ring; // only a RING's sender looks at the head
} returns[] = {{"too many", too_many, false},
               {"backwards", backwards, false},
               {"unknown slot", unknown_slot, false},
               {"far slot", far_slot, false},
               {"free slot", free_slot, false},
               {"twice", twice, false},
               {"head ahead", head_ahead, true},
               {"head back", head_back, true},
               {"unread", unread, true}};

// The first slots lent are numbers 0 and 1.
static void a_sender_refuses_every_false_return(void **state)
{
    (void)state;
    const uint32_t kinds[] = {HC_CHANNEL_PIPE, HC_CHANNEL_BIDIRECTIONAL};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
            if (returns[i].ring) {
                continue;
            }
            open_channel(kinds[k], 2);
            struct channel_tensor t;
            send_one(end[0]);
            send_one(end[0]);
            returns[i].lie(&end[0]->out[0]);
            int e = channel_lend(end[0], 0, &t);
            if (e != -EPROTO || strstr(channel_reason(end[0]), "broke the rules: ") == NULL) {
                fail_msg("%s: %d (%s)", returns[i].name, e, channel_reason(end[0]));
            }
            assert_int_equal(channel_lend(end[0], 0, &t), -EPROTO);
            assert_int_equal(channel_drain(end[0], 0), -EPROTO);
            assert_int_equal(channel_connect(end[0], 0), -EPROTO);
            close_channel();
        }
    }
}

static void one_in_the_middle_refuses_false_returns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        if (returns[i].ring) {
            continue;
        }
        open_channel(HC_CHANNEL_PIPE, 3);
        struct channel_tensor t;
        for (unsigned n = 0; n < 2; n++) {
            send_one(end[0]);
            assert_int_equal(channel_receive(end[1], 0, &t), 0);
            assert_int_equal(channel_send(end[1], &t), 0);
        }
        returns[i].lie(&end[1]->out[0]);
        int e = channel_receive(end[1], 0, &t);
        if (e != -EPROTO) {
            fail_msg("%s: %d (%s)", returns[i].name, e, channel_reason(end[1]));
        }
        close_channel();
    }
}

static void a_lying_receiver_is_cut_off_and_the_others_go_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        if (returns[i].ring) {
            continue;
        }
        open_channel(HC_CHANNEL_BROADCAST, 3);
        struct channel_tensor t;
        send_one(end[0]);
        send_one(end[0]);
        returns[i].lie(&end[0]->out[1]);
        for (unsigned n = 0; n < 10; n++) {
            if (n) {
                send_one(end[0]);
            }
            assert_int_equal(channel_lend(end[0], 0, &t), 0);
            assert_int_equal(channel_release(end[0], &t), 0);
            assert_int_equal(channel_receive(end[1], 0, &t), 0);
            assert_int_equal(channel_release(end[1], &t), 0);
        }
        assert_int_equal(channel_receivers(end[0]), 1);
        // It is not let in again.
        end[2]->live = false;
        assert_int_equal(channel_connect(end[2], 0), -ETIMEDOUT);
        send_one(end[0]);
        assert_int_equal(channel_connect(end[2], 0), -ETIMEDOUT);
        assert_int_equal(channel_receivers(end[0]), 1);
        close_channel();
    }
}

static void a_ring_goes_on_without_its_lying_receiver(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        open_channel(HC_CHANNEL_RING, 2);
        send_one(end[0]);
        send_one(end[0]);
        if (strcmp(returns[i].name, "unread") != 0) {
            end[0]->out[0].sink->head = 1; // as if it had taken one
        }
        returns[i].lie(&end[0]->out[0]);
        for (unsigned n = 0; n < 20; n++) {
            send_one(end[0]);
        }
        if (channel_receivers(end[0]) != 0) {
            fail_msg("%s goes unnoticed", returns[i].name);
        }
        close_channel();
    }
}

static void a_ring_receiver_that_keeps_more_than_half_is_cut_off(void **state)
{
    (void)state;
    open_channel(HC_CHANNEL_RING, 2);
    for (unsigned n = 0; n < SLOTS; n++) {
        send_one(end[0]);
    }
    end[0]->out[0].sink->head = 3;
    struct channel_tensor t;
    send_one(end[0]); // in place of the one that was unread
    end[0]->out[0].sink->head = 5;
    assert_int_equal(channel_lend(end[0], 0, &t), 0);
    assert_int_equal(channel_receivers(end[0]), 0);
    close_channel();
}

// ---- the header and the ends -------------------------------------------------------------------
static void a_false_header_is_refused(void **state)
{
    (void)state;
    struct channel_format f = {HC_CHANNEL_PIPE, 2, SLOTS, 4096};
    static const struct {
        size_t offset, bytes;
        uint64_t value;
        int wanted;
    } cases[] = {
        {0, 8, HC_CHANNEL_MAGIC + 1, -ENODEV},
        {8, 4, 2, -EPROTO},
        {12, 4, 0, -EPROTO},
        {12, 4, 9, -EPROTO},
        {16, 4, 0, -EPROTO},
        {16, 4, 10, -EPROTO},
        {16, 4, UINT32_MAX, -EPROTO},
        {20, 4, 1, -EPROTO},
        {20, 4, 5, -EPROTO},
        {20, 4, UINT32_MAX, -EPROTO},
        {24, 8, 0, -EPROTO},
        {24, 8, 100, -EPROTO},
        {24, 8, 8192, -EPROTO},
        {24, 8, 1ull << 62, -EPROTO},
        {24, 8, 0 - 128ull, -EPROTO},
        {32, 8, 1ull << 50, -EPROTO},
        {32, 8, 0, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct channel *c = NULL;
        char error[160] = "";
        block = fake_block(&f, &block_bytes);
        memcpy(block + cases[i].offset, &cases[i].value, cases[i].bytes);
        int e = channel_attach(block, block_bytes, 0, &fake_port, NULL, &c, error, sizeof(error));
        if (e != cases[i].wanted || error[0] == '\0') {
            fail_msg("case %zu: %d (%s)", i, e, error);
        }
        free(block);
    }
}

// Words that say nothing false, but end the session: never more than that.
static void false_sessions_end_cleanly(void **state)
{
    (void)state;
    struct channel_tensor t;
    open_channel(HC_CHANNEL_PIPE, 2);
    end[0]->ends[0].generation ^= 1;
    assert_int_equal(channel_receive(end[1], 0, &t), -ENOTCONN);
    close_channel();
    open_channel(HC_CHANNEL_PIPE, 2);
    end[1]->in.source->welcome = 0;
    assert_int_equal(channel_receive(end[1], 0, &t), -ENOTCONN);
    close_channel();
    open_channel(HC_CHANNEL_PIPE, 2);
    end[0]->out[0].sink->hello += 1;
    assert_int_equal(channel_lend(end[0], 0, &t), -ENOTCONN);
    close_channel();
    open_channel(HC_CHANNEL_PIPE, 2);
    end[0]->ends[0].owner = 5;
    assert_int_equal(channel_lend(end[0], 0, &t), -ESTALE);
    close_channel();
    // A hello that names another generation is not answered.
    open_channel(HC_CHANNEL_PIPE, 2);
    end[0]->out[0].sink->hello = 0;
    assert_int_equal(channel_lend(end[0], 0, &t), -ENOTCONN);
    end[0]->out[0].sink->hello = 7;
    assert_int_equal(channel_connect(end[0], 0), -ETIMEDOUT);
    end[0]->out[0].sink->hello = (uint64_t)end[0]->generation << 32; // no random number
    assert_int_equal(channel_connect(end[0], 0), -ETIMEDOUT);
    close_channel();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receiver_refuses_every_false_field),
        cmocka_unit_test(a_slot_that_is_held_cannot_come_again),
        cmocka_unit_test(a_slot_that_was_passed_on_cannot_come_again),
        cmocka_unit_test(a_sender_refuses_every_false_return),
        cmocka_unit_test(one_in_the_middle_refuses_false_returns),
        cmocka_unit_test(a_lying_receiver_is_cut_off_and_the_others_go_on),
        cmocka_unit_test(a_ring_goes_on_without_its_lying_receiver),
        cmocka_unit_test(a_ring_receiver_that_keeps_more_than_half_is_cut_off),
        cmocka_unit_test(a_false_header_is_refused),
        cmocka_unit_test(false_sessions_end_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
