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
#include "platform/generation.h"
#include "platform/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static uint32_t generation;
static uint8_t generation_id;
uint32_t pf_generation_look(void)
{
    return generation;
}
size_t pf_generation_id(uint8_t out[PF_GENERATION_BYTES])
{
    out[0] = generation_id;
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

static void a_restored_machine_is_seeded_anew_before_it_draws(void **state)
{
    (void)state;
    uint8_t a[32];
    fake_now_ns += 61ull * 1000000000;
    random_bytes(a, 32); // asks the device
    answer();            // which answers, and then the state is saved
    unsigned before = answers;
    generation++;
    uint64_t began = fake_now_ns;
    random_bytes(a, 32); // that answer may be another run's, too: it is no seed
    assert_true(fake_now_ns - began >= 100000000);
    assert_false(random_is_seeded());
    answer();
    assert_int_equal(answers, before + 1);
    random_bytes(a, 32);
    assert_true(random_is_seeded());
}

static void two_runs_of_one_state_draw_differently(void **state)
{
    (void)state;
    static uint8_t drawn[3][32];
    // Each child process is the same state run again; without another generation they agree.
    for (int i = 0; i < 3; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            generation += i > 0;
            generation_id = (uint8_t)i;
            fake_now_ns = 1ull << 40;
            uint8_t out[32];
            random_bytes(out, 32);
            _exit(write(ends[1], out, 32) == 32 ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(read(ends[0], drawn[i], 32), 32);
        close(ends[0]);
        close(ends[1]);
    }
    assert_memory_not_equal(drawn[0], drawn[1], 32);
    assert_memory_not_equal(drawn[1], drawn[2], 32);
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
        cmocka_unit_test(a_restored_machine_is_seeded_anew_before_it_draws),
        cmocka_unit_test(two_runs_of_one_state_draw_differently),
        cmocka_unit_test(a_lying_device_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
