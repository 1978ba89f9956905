// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Random bytes: seeded by the device when it answers, with a warning when nothing does, and safe
// against a device that lies.
//
// Links: libos/virtio/rng.c libos/virtio/drbg.c libos/virtio/chacha20.c libos/virtio/blake2s.c
// Links: libos/virtio/device.c libos/virtio/queue.c libos/virtio/queue_split.c
// Links: libos/virtio/queue_packed.c libos/virtio/sim_host.c libos/virtio/fake_host.c
#include "libos/virtio/sim_host.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct pf_cpu_features cpu;
static struct pf_boot_info boot;
const struct pf_cpu_features *pf_cpu_features(void)
{
    return &cpu;
}
const struct pf_boot_info *pf_boot_info(void)
{
    return &boot;
}
uint64_t pf_wall_ns(void)
{
    return 1;
}

static struct virtio_device d;
static struct sim_device s;
static unsigned answers, answer_bytes;

static void answer(void)
{
    struct sim_chain c;
    while (s.enabled[0] && sim_pop(&s.queue[0], &c)) {
        assert_int_equal(c.writable, 1);
        memset((void *)(uintptr_t)c.segment[0].phys, 0x77, c.segment[0].bytes);
        sim_push(&s.queue[0], &c, answer_bytes);
        answers++;
    }
}

// The order of these tests matters: there is one generator in a machine.
static void without_a_source_it_warns_and_still_answers(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    random_bytes(a, 32);
    random_bytes(b, 32);
    assert_memory_not_equal(a, b, 32);
    assert_false(random_is_seeded());
}

static void a_silent_device_is_waited_for_but_not_forever(void **state)
{
    (void)state;
    sim_device_init(&d, &s, VIRTIO_RNG);
    s.features |= VIRTIO_F_RING_PACKED;
    assert_int_equal(virtio_rng_probe(&d), 0);
    assert_int_equal(s.notified[0], 1);
    uint64_t before = fake_now_ns;
    uint8_t a[32];
    random_bytes(a, 32);
    assert_true(fake_now_ns - before >= 100000000);
    assert_true(fake_now_ns - before < 200000000);
    assert_false(random_is_seeded());
    before = fake_now_ns;
    random_bytes(a, 32);
    assert_true(fake_now_ns - before < 1000000); // once is enough
}

static void a_stingy_device_is_asked_again(void **state)
{
    (void)state;
    uint8_t a[32];
    answer_bytes = 8;
    answer();
    random_bytes(a, 32); // mixes the eight bytes in and asks for more
    assert_false(random_is_seeded());
    assert_int_equal(answers, 1);
    answer_bytes = 64;
    answer();
    assert_int_equal(answers, 2);
}

static void the_device_seeds_it(void **state)
{
    (void)state;
    uint8_t a[32];
    random_bytes(a, 32);
    assert_true(random_is_seeded());
}

static void it_is_seeded_anew_after_a_while(void **state)
{
    (void)state;
    uint8_t a[32];
    unsigned before = answers;
    random_bytes(a, 32);
    assert_int_equal(answers, before);
    fake_now_ns += 61ull * 1000000000;
    random_bytes(a, 32);
    answer();
    assert_int_equal(answers, before + 1);
}

static void a_lying_device_is_dropped(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    fake_now_ns += 61ull * 1000000000;
    random_bytes(a, 32);
    random_bytes(a, 32); // takes the last answer
    fake_now_ns += 61ull * 1000000000;
    random_bytes(a, 32);
    sim_push_raw(&s.queue[0], 0, 65, 1);
    random_bytes(b, 32);
    assert_memory_not_equal(a, b, 32);
    assert_non_null(d.broken);
    random_bytes(b, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_source_it_warns_and_still_answers),
        cmocka_unit_test(a_silent_device_is_waited_for_but_not_forever),
        cmocka_unit_test(a_stingy_device_is_asked_again),
        cmocka_unit_test(the_device_seeds_it),
        cmocka_unit_test(it_is_seeded_anew_after_a_while),
        cmocka_unit_test(a_lying_device_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
