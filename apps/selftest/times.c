// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Clocks, sleeping, timers, futexes. Bounds from above are generous: an emulator on a busy host may
// not run for a while.
#include "apps/selftest/selftest.h"

#include "libos/sched.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const char *test_clock(void)
{
    uint64_t last = now();
    for (int i = 0; i < 2000; i++) {
        uint64_t t = now();
        CHECK(t >= last);
        last = t;
    }
    CHECK(time(NULL) > 1577836800); // 2020
    struct timespec cpu;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) == 0);
    CHECK(clock_gettime(99, &cpu) != 0 && errno == EINVAL);
    return NULL;
}

static const char *test_sleep(void)
{
    for (uint64_t ns = 100000; ns <= 20 * MS; ns *= 5) {
        uint64_t start = now();
        struct timespec t = {.tv_nsec = (long)ns};
        CHECK(nanosleep(&t, NULL) == 0);
        uint64_t took = now() - start;
        CHECK(took >= ns);
        CHECK(took < ns + 500 * MS);
    }
    return NULL;
}

struct shot {
    struct sched_timer timer;
    uint64_t fired;
    struct wake wake;
};
static uint32_t shots_left;
static struct wake shots_done = WAKE_INIT;
static void shoot(void *arg)
{
    struct shot *s = arg;
    s->fired = now();
    if (__atomic_sub_fetch(&shots_left, 1, __ATOMIC_SEQ_CST) == 0) {
        wake_set(&shots_done);
    }
}
static const char *test_timers(void)
{
    enum { COUNT = 200 };
    static struct shot shot[COUNT];
    memset(shot, 0, sizeof shot);
    shots_left = COUNT - COUNT / 4;
    uint64_t start = now(), seed = 9;
    for (int i = 0; i < COUNT; i++) {
        shot[i].timer.fire = shoot;
        shot[i].timer.arg = &shot[i];
        sched_timer_arm(&shot[i].timer, start + 5 * MS + next_random(&seed) % (20 * MS));
    }
    for (int i = 0; i < COUNT; i += 4) {
        sched_timer_cancel(&shot[i].timer);
    }
    CHECK(wake_wait(&shots_done, start + 3000 * MS));
    for (int i = 0; i < COUNT; i++) {
        if (i % 4 == 0) {
            CHECK(shot[i].fired == 0);
        } else {
            CHECK(shot[i].fired >= shot[i].timer.deadline_ns);
        }
    }
    // A time-out that ends a wait; a wake that comes first.
    struct wake w = WAKE_INIT;
    start = now();
    CHECK(!wake_wait(&w, start + 3 * MS) && now() >= start + 3 * MS);
    wake_set(&w);
    CHECK(wake_wait(&w, start) && !wake_wait(&w, start));
    return NULL;
}

static uint32_t word;
static void *wait_on_word(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0) {
        syscall(SYS_futex, &word, 0, 0, NULL);
    }
    return NULL;
}
static const char *test_futex(void)
{
    uint32_t v = 5;
    CHECK(syscall(SYS_futex, &v, 0, 4, NULL) != 0 && errno == EAGAIN);
    struct timespec t = {.tv_nsec = 2000000};
    CHECK(syscall(SYS_futex, &v, 0, 5, &t) != 0 && errno == ETIMEDOUT);
    CHECK(syscall(SYS_futex, &v, 77, 5, &t) != 0 && errno == ENOSYS);
    t.tv_nsec = -1;
    CHECK(syscall(SYS_futex, &v, 0, 5, &t) != 0 && errno == EINVAL);
    pthread_t th[8];
    word = 0;
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_create(&th[i], NULL, wait_on_word, NULL) == 0);
    }
    strand_sleep_ns(5 * MS);
    // All wait by now: move them to another word, then wake them there.
    static uint32_t other;
    long moved = syscall(SYS_futex, &word, 4, 0, (void *)8, &other, 0);
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    CHECK(syscall(SYS_futex, &other, 1, INT_MAX) == moved);
    syscall(SYS_futex, &word, 1, INT_MAX);
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_join(th[i], NULL) == 0);
    }
    return NULL;
}

// Wakes between two CPUs, back and forth: none may be lost.
#define ROUNDS 300
static struct wake ping = WAKE_INIT, pong = WAKE_INIT;
static void answer(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        wake_wait(&ping, 0);
        wake_set(&pong);
    }
}
static const char *test_wakes(void)
{
    CHECK(strand_create("answer", answer, NULL, STRAND_NORMAL, sched_cpu_count() - 1, 0, NULL) ==
          0);
    for (int i = 0; i < ROUNDS; i++) {
        wake_set(&ping);
        CHECK(wake_wait(&pong, now() + 5000 * MS));
    }
    return NULL;
}

const struct selftest time_tests[] = {
    {"clock", test_clock}, {"sleep", test_sleep}, {"timers", test_timers},
    {"futex", test_futex}, {"wakes", test_wakes}, {NULL, NULL},
};
