// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtqueues against a simulated device, honest and hostile, in all four kinds.
// Links: libos/virtio/queue.c libos/virtio/queue_split.c libos/virtio/queue_packed.c
// Links: libos/virtio/sim_host.c
#include "libos/virtio/sim_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Guard bytes around the ring show a write outside it even where the sanitizer would not.
#define GUARD 64u

struct rig {
    struct vq q;
    struct sim_queue s;
    uint8_t *block;
    size_t bytes;
    struct vq_slot *slots;
};

static void rig_start(struct rig *r, bool packed, bool events, uint16_t size, uint16_t indirect)
{
    r->bytes = vq_ring_bytes(packed, size, indirect);
    assert_true(r->bytes > 0);
    r->block = aligned_alloc(4096, (r->bytes + 2 * 4096) & ~4095ul);
    memset(r->block, 0xa5, (r->bytes + 2 * 4096) & ~4095ul);
    r->slots = calloc(size, sizeof(*r->slots));
    struct vq_config c = {packed, events, size, indirect, r->block, (uintptr_t)r->block, r->slots};
    assert_int_equal(vq_init(&r->q, &c), 0);
    sim_attach(&r->s, &r->q);
}
static void rig_end(struct rig *r)
{
    for (unsigned i = 0; i < GUARD; i++) {
        assert_int_equal(r->block[r->bytes + i], 0xa5);
    }
    free(r->block);
    free(r->slots);
}

static const struct kind {
    bool packed, events;
    uint16_t size, indirect;
} kinds[] = {
    {false, false, 8, 0}, {false, true, 8, 0},   {true, false, 8, 0},  {true, true, 8, 0},
    {true, true, 7, 0},   {false, true, 1, 0},   {true, true, 1, 0},   {false, true, 8, 4},
    {true, true, 5, 4},   {false, true, 256, 0}, {true, true, 300, 0},
};
#define EACH_KIND(r)                                                                               \
    for (size_t k_ = 0; k_ < sizeof(kinds) / sizeof(kinds[0]); k_++)                               \
        for (int once_ = (rig_start(r, kinds[k_].packed, kinds[k_].events, kinds[k_].size,         \
                                    kinds[k_].indirect),                                           \
                          1);                                                                      \
             once_; once_ = 0, rig_end(r))

static struct vq_segment segment(uint64_t at, uint32_t bytes)
{
    return (struct vq_segment){at, bytes};
}

static void sizes_are_checked(void **state)
{
    (void)state;
    assert_int_equal(vq_ring_bytes(false, 0, 0), 0);
    assert_int_equal(vq_ring_bytes(true, 0, 0), 0);
    assert_int_equal(vq_ring_bytes(false, 7, 0), 0);
    assert_int_equal(vq_ring_bytes(false, 8, VQ_MAX_INDIRECT + 1), 0);
    assert_true(vq_ring_bytes(true, 7, 0) >= 7 * 16 + 8);
    assert_true(vq_ring_bytes(false, 32768, 0) >= 32768u * (16 + 2 + 8) + 12);
    struct rig r;
    rig_start(&r, false, false, 8, 0);
    struct vq_config c = r.q.config;
    c.ring = r.block + 4;
    assert_int_equal(vq_init(&r.q, &c), -EINVAL);
    c = r.q.config;
    rig_end(&r);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        int token;
        struct vq_segment s[2] = {segment(0x1000, 16), segment(0x2000, 0)};
        assert_int_equal(vq_add(&r.q, s, 0, 0, &token), -EINVAL);
        assert_int_equal(vq_add(&r.q, s, 1, 0, NULL), -EINVAL);
        assert_int_equal(vq_add(&r.q, s, 1, 1, &token), -EINVAL); // empty segment
        struct vq_segment huge[2] = {segment(0, UINT32_MAX), segment(0, 1)};
        assert_int_equal(vq_add(&r.q, huge, 2, 0, &token), -EINVAL);
        assert_int_equal(r.q.free, r.q.config.size);
        assert_false(vq_kick_needed(&r.q));
    }
}

// Random traffic over many laps, completions out of order: every token comes back once, with its
// length, and the device sees exactly what was added.
static void traffic_survives_many_laps(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        srand(1);
        enum { TOKENS = 512 };
        static struct {
            unsigned readable, writable;
            uint32_t bytes, answer;
            bool in_flight;
        } t[TOKENS];
        memset(t, 0, sizeof(t));
        static struct sim_chain held[512];
        unsigned held_count = 0, next = 0, in_flight = 0;
        uint64_t done = 0;
        bool kick_pending = false;
        sim_want_kick(&r.s, true);
        for (unsigned round = 0; round < 70000; round++) {
            int what = rand() % 3;
            if (what == 0 && in_flight < TOKENS) {
                while (t[next].in_flight) {
                    next = (next + 1) % TOKENS;
                }
                unsigned readable = (unsigned)rand() % 3, writable = (unsigned)rand() % 3;
                struct vq_segment s[4];
                if (readable + writable == 0) {
                    readable = 1;
                }
                uint32_t writable_bytes = 0;
                for (unsigned i = 0; i < readable + writable; i++) {
                    s[i] = segment(((uint64_t)next << 20) + i, 1 + (uint32_t)rand() % 5000);
                    writable_bytes += i >= readable ? s[i].bytes : 0;
                }
                int rc = vq_add(&r.q, s, readable, writable, &t[next]);
                unsigned count = readable + writable;
                unsigned need = count > 1 && count <= r.q.config.indirect ? 1 : count;
                if (rc == 0) {
                    t[next].readable = readable;
                    t[next].writable = writable;
                    t[next].bytes = writable_bytes;
                    t[next].in_flight = true;
                    in_flight++;
                    kick_pending |= vq_kick_needed(&r.q);
                } else if (need > r.q.config.size) {
                    assert_int_equal(rc, -EINVAL);
                } else {
                    assert_int_equal(rc, -ENOSPC);
                    assert_true(r.q.free < need);
                }
            } else if (what == 1) {
                struct sim_chain c;
                if (sim_pop(&r.s, &c)) {
                    assert_true(kick_pending); // the device wanted to hear of it
                    unsigned token = (unsigned)(c.segment[0].phys >> 20);
                    assert_true(t[token].in_flight);
                    assert_int_equal(c.readable, t[token].readable);
                    assert_int_equal(c.writable, t[token].writable);
                    held[held_count++] = c;
                } else {
                    sim_want_kick(&r.s, true);
                    kick_pending = false;
                }
            } else if (held_count) {
                unsigned pick = (unsigned)rand() % held_count;
                struct sim_chain c = held[pick];
                held[pick] = held[--held_count];
                unsigned token = (unsigned)(c.segment[0].phys >> 20);
                t[token].answer = t[token].bytes ? (uint32_t)rand() % (t[token].bytes + 1) : 0;
                sim_push(&r.s, &c, t[token].answer);
                assert_true(vq_has_used(&r.q));
                uint32_t written;
                void *back = vq_take(&r.q, &written);
                assert_ptr_equal(back, &t[token]);
                assert_int_equal(written, t[token].answer);
                t[token].in_flight = false;
                in_flight--;
                done++;
                assert_false(vq_has_used(&r.q));
                assert_null(vq_take(&r.q, &written));
            }
        }
        assert_null(r.q.broken);
        assert_true(done > 1000);
        assert_int_equal(r.q.in_flight, in_flight);
    }
}

static void full_ring_says_so_and_recovers(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        for (int lap = 0; lap < 5; lap++) {
            struct vq_segment s = segment(0x1000, 64);
            static int tokens[512];
            for (unsigned i = 0; i < r.q.config.size; i++) {
                assert_int_equal(vq_add(&r.q, &s, 0, 1, &tokens[i]), 0);
            }
            assert_int_equal(vq_add(&r.q, &s, 0, 1, &tokens[0]), -ENOSPC);
            struct sim_chain c;
            unsigned popped = 0;
            while (sim_pop(&r.s, &c)) {
                sim_push(&r.s, &c, 64);
                popped++;
            }
            assert_int_equal(popped, r.q.config.size);
            uint32_t written;
            for (unsigned i = 0; i < r.q.config.size; i++) {
                assert_ptr_equal(vq_take(&r.q, &written), &tokens[i]);
            }
            assert_int_equal(r.q.free, r.q.config.size);
        }
    }
}

// Interrupts: after interrupts_on the next used chain is due, after interrupts_off none of many is.
static void interrupts_come_when_asked_for(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        struct vq_segment s = segment(0x1000, 64);
        struct sim_chain c;
        uint32_t written;
        int token;
        for (int i = 0; i < 1000; i++) {
            bool on = i % 3 != 0;
            if (on) {
                assert_false(vq_interrupts_on(&r.q));
            } else {
                vq_interrupts_off(&r.q);
            }
            assert_int_equal(vq_add(&r.q, &s, 0, 1, &token), 0);
            assert_true(sim_pop(&r.s, &c));
            sim_push(&r.s, &c, 1);
            assert_int_equal(sim_interrupt_due(&r.s), on);
            assert_true(vq_interrupts_on(&r.q)); // one is there already
            assert_ptr_equal(vq_take(&r.q, &written), &token);
        }
    }
}

static void kicks_are_suppressed_when_unwanted(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        struct vq_segment s = segment(0x1000, 64);
        struct sim_chain c;
        uint32_t written;
        int token;
        for (int i = 0; i < 1000; i++) {
            bool wanted = i % 2;
            sim_want_kick(&r.s, wanted);
            assert_int_equal(vq_add(&r.q, &s, 1, 0, &token), 0);
            assert_int_equal(vq_kick_needed(&r.q), wanted);
            assert_false(vq_kick_needed(&r.q)); // nothing new
            assert_true(sim_pop(&r.s, &c));
            sim_push(&r.s, &c, 0);
            assert_ptr_equal(vq_take(&r.q, &written), &token);
        }
    }
}

// A notification is due exactly when the device's event lies among what was added since the last
// look, wherever on the ring that is.
static void a_kick_answers_for_the_whole_batch(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        unsigned size = kinds[k_].size;
        if (!kinds[k_].events || size < 5) {
            continue;
        }
        struct vq_segment s = segment(0x1000, 64);
        struct sim_chain c;
        uint32_t written;
        int token;
        for (unsigned i = 0; i < 3000; i++) {
            unsigned batch = 1 + i % 4, offset = i / 4 % 5; // 4: beyond the batch
            if (kinds[k_].packed) {
                unsigned at = r.s.avail + offset;
                bool wrap = r.s.avail_wrap ^ (at >= size);
                uint16_t event = (uint16_t)(at % size | (wrap ? 0x8000u : 0)), flags = 2;
                memcpy(r.s.device, &event, 2);
                memcpy(r.s.device + 2, &flags, 2);
            } else {
                uint16_t event = (uint16_t)(r.s.avail + offset);
                memcpy(r.s.device + 4 + 8 * size, &event, 2);
            }
            for (unsigned k = 0; k < batch; k++) {
                assert_int_equal(vq_add(&r.q, &s, 0, 1, &token), 0);
            }
            assert_int_equal(vq_kick_needed(&r.q), offset < batch);
            while (sim_pop(&r.s, &c)) {
                sim_push(&r.s, &c, 1);
                assert_ptr_equal(vq_take(&r.q, &written), &token);
            }
        }
    }
}

// ---- a hostile device ----------------------------------------------------------------------

static void expect_broken(struct rig *r)
{
    uint32_t written = 99;
    assert_null(vq_take(&r->q, &written));
    assert_int_equal(written, 0);
    assert_non_null(r->q.broken);
    int token;
    struct vq_segment s = segment(0x1000, 64);
    assert_int_equal(vq_add(&r->q, &s, 0, 1, &token), -EIO);
    assert_false(vq_has_used(&r->q));
    assert_false(vq_kick_needed(&r->q));
}

static void add_one(struct rig *r, void *token)
{
    struct vq_segment s = segment(0x1000, 64);
    assert_int_equal(vq_add(&r->q, &s, 0, 1, token), 0);
}

static void id_out_of_range_breaks_the_queue(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        add_one(&r, &token);
        sim_push_raw(&r.s, kinds[k_].size, 1, 1);
        expect_broken(&r);
    }
    EACH_KIND(&r)
    {
        add_one(&r, &token);
        sim_push_raw(&r.s, 0xffffffffu, 1, 1);
        expect_broken(&r);
    }
}

static void id_not_in_flight_breaks_the_queue(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        if (kinds[k_].size < 2) {
            continue;
        }
        add_one(&r, &token);
        sim_push_raw(&r.s, 1, 1, 1); // 0 is in flight
        expect_broken(&r);
    }
}

static void id_used_twice_breaks_the_queue(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        if (kinds[k_].size < 2) {
            continue;
        }
        add_one(&r, &token);
        add_one(&r, &token);
        struct sim_chain c;
        uint32_t written;
        assert_true(sim_pop(&r.s, &c));
        sim_push(&r.s, &c, 1);
        sim_push(&r.s, &c, 1);
        assert_ptr_equal(vq_take(&r.q, &written), &token);
        expect_broken(&r);
    }
}

static void length_beyond_the_buffer_breaks_the_queue(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        add_one(&r, &token);
        sim_push_raw(&r.s, 0, 65, 1);
        expect_broken(&r);
    }
}

static void split_index_jump_breaks_the_queue(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        if (kinds[k_].packed) {
            continue;
        }
        add_one(&r, &token);
        uint16_t jump = 2;
        memcpy(r.s.device + 2, &jump, 2);
        expect_broken(&r);
    }
    EACH_KIND(&r)
    {
        if (kinds[k_].packed) {
            continue;
        }
        add_one(&r, &token);
        uint16_t back = 0xffff;
        memcpy(r.s.device + 2, &back, 2);
        expect_broken(&r);
    }
}

static void middle_of_a_chain_is_not_a_head(void **state)
{
    (void)state;
    struct rig r;
    int token;
    EACH_KIND(&r)
    {
        if (kinds[k_].size < 3 || kinds[k_].indirect) {
            continue;
        }
        struct vq_segment s[3] = {segment(1, 1), segment(2, 2), segment(3, 3)};
        assert_int_equal(vq_add(&r.q, s, 1, 2, &token), 0);
        sim_push_raw(&r.s, 1, 0, 3);
        expect_broken(&r);
    }
}

// Descriptors and indirect tables overwritten in flight change nothing: they are never read back.
static void rewritten_descriptors_are_ignored(void **state)
{
    (void)state;
    struct rig r;
    EACH_KIND(&r)
    {
        int token[2];
        for (int i = 0; i < 100; i++) {
            struct vq_segment s[3] = {segment(1, 1), segment(2, 2), segment(3, 3)};
            unsigned n = kinds[k_].size >= 6 || kinds[k_].indirect ? 3 : 1;
            struct sim_chain c;
            uint32_t written;
            assert_int_equal(vq_add(&r.q, s, 0, n, &token[0]), 0);
            assert_true(sim_pop(&r.s, &c));
            if (!kinds[k_].packed) {
                memset(r.s.desc, 0xff, (size_t)16 * kinds[k_].size);
            }
            if (kinds[k_].indirect) {
                memset(r.q.tables, 0xff, (size_t)16 * kinds[k_].indirect * kinds[k_].size);
            }
            sim_push(&r.s, &c, 1);
            assert_ptr_equal(vq_take(&r.q, &written), &token[0]);
            assert_int_equal(r.q.free, kinds[k_].size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(traffic_survives_many_laps),
        cmocka_unit_test(full_ring_says_so_and_recovers),
        cmocka_unit_test(interrupts_come_when_asked_for),
        cmocka_unit_test(kicks_are_suppressed_when_unwanted),
        cmocka_unit_test(a_kick_answers_for_the_whole_batch),
        cmocka_unit_test(id_out_of_range_breaks_the_queue),
        cmocka_unit_test(id_not_in_flight_breaks_the_queue),
        cmocka_unit_test(id_used_twice_breaks_the_queue),
        cmocka_unit_test(length_beyond_the_buffer_breaks_the_queue),
        cmocka_unit_test(split_index_jump_breaks_the_queue),
        cmocka_unit_test(middle_of_a_chain_is_not_a_head),
        cmocka_unit_test(rewritten_descriptors_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
