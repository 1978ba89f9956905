// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Threads, strands, locks and gangs over all CPUs.
#include "apps/selftest/selftest.h"

#include "libos/sched.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 12

static __thread int own = 41;
static __thread char own_zero[300];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *count_up(void *arg)
{
    long id = (long)arg;
    own += (int)id;
    own_zero[299] = (char)id;
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&mutex);
        long c = counter;
        if (i % 64 == 0) {
            sched_yield(); // with the lock held: the others must wait
        }
        counter = c + 1;
        pthread_mutex_unlock(&mutex);
    }
    errno = (int)id;
    sched_yield();
    return (void *)(long)(own == 41 + id && own_zero[299] == id && own_zero[0] == 0 && errno == id);
}

static const char *test_threads(void)
{
    pthread_t t[THREADS];
    counter = 0;
    for (long i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, count_up, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *ok;
        CHECK(pthread_join(t[i], &ok) == 0);
        CHECK(ok != NULL);
    }
    CHECK(counter == THREADS * 2000);
    CHECK(own == 41);
    return NULL;
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int turn, rounds;
} ring = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void *take_turns(void *arg)
{
    int me = (int)(long)arg;
    pthread_mutex_lock(&ring.lock);
    for (int i = 0; i < 100; i++) {
        while (ring.turn != me) {
            pthread_cond_wait(&ring.cond, &ring.lock);
        }
        ring.turn = (me + 1) % 4;
        ring.rounds++;
        pthread_cond_broadcast(&ring.cond);
    }
    pthread_mutex_unlock(&ring.lock);
    return NULL;
}

static const char *test_cond(void)
{
    pthread_t t[4];
    ring.turn = ring.rounds = 0;
    for (long i = 0; i < 4; i++) {
        CHECK(pthread_create(&t[i], NULL, take_turns, (void *)i) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(t[i], NULL) == 0);
    }
    CHECK(ring.rounds == 400);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 5000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&ring.lock);
    int e = pthread_cond_timedwait(&ring.cond, &ring.lock, &until);
    pthread_mutex_unlock(&ring.lock);
    CHECK(e == ETIMEDOUT);
    sem_t s;
    sem_init(&s, 0, 1);
    CHECK(sem_wait(&s) == 0 && sem_trywait(&s) != 0 && errno == EAGAIN);
    CHECK(sem_timedwait(&s, &until) != 0 && errno == ETIMEDOUT);
    return NULL;
}

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int made, destroyed;
static void destroy(void *value)
{
    (void)value;
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
}
static void make_key(void)
{
    pthread_key_create(&key, destroy);
    made++;
}
static void *use_key(void *arg)
{
    pthread_once(&once, make_key);
    pthread_setspecific(key, arg);
    sched_yield();
    return (void *)(long)(pthread_getspecific(key) == arg);
}
static const char *test_keys(void)
{
    pthread_t t[THREADS];
    destroyed = 0;
    for (long i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, use_key, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *ok;
        CHECK(pthread_join(t[i], &ok) == 0 && ok);
    }
    CHECK(made == 1 && destroyed == THREADS);
    return NULL;
}

#define STRANDS 64
// Many strands, all ended and freed again.
static uint32_t alive, ran;
static struct wake all_done = WAKE_INIT;
static void short_strand(void *arg)
{
    __atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST);
    strand_sleep_ns((uint64_t)(uintptr_t)arg % 7 * 100000);
    if (__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST) == 0) {
        wake_set(&all_done);
    }
}
static const char *test_strands(void)
{
    size_t before = sched_snapshot(NULL, 0);
    for (int round = 0; round < 2; round++) {
        alive = STRANDS + 1;
        ran = 0;
        for (uintptr_t i = 0; i < STRANDS; i++) {
            CHECK(strand_create("short", short_strand, (void *)i,
                                (enum strand_priority)(i % STRAND_PRIORITY_COUNT), STRAND_ANY_CPU,
                                8192, NULL) == 0);
        }
        if (__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST) != 0) {
            wake_wait(&all_done, 0);
        }
        CHECK(ran == STRANDS);
    }
    // The idle loop buries them one by one.
    for (int i = 0; i < 300 && sched_snapshot(NULL, 0) > before; i++) {
        strand_sleep_ns(10000000);
    }
    CHECK(sched_snapshot(NULL, 0) <= before);
    CHECK(strand_create(NULL, short_strand, NULL, STRAND_LOW, 0, 0, NULL) == -EINVAL);
    CHECK(strand_create("x", short_strand, NULL, STRAND_LOW, 64, 0, NULL) == -EINVAL);
    struct strand_info info[16];
    size_t n = sched_snapshot(info, 16);
    bool found = false;
    for (size_t i = 0; i < n && i < 16; i++) {
        found |= strcmp(info[i].name, "app") == 0 && info[i].stack_used > 256 &&
                 info[i].stack_used < info[i].stack_bytes;
    }
    CHECK(found);
    return NULL;
}

// Urgent work gets the core between two tiles.
static int urgent_ran;
static struct wake urgent_wake = WAKE_INIT;
static void urgent(void *arg)
{
    (void)arg;
    wake_wait(&urgent_wake, 0);
    urgent_ran = 1;
}
static const char *test_relax(void)
{
    CHECK(strand_create("urgent", urgent, NULL, STRAND_HIGH, 0, 0, NULL) == 0);
    strand_yield();
    urgent_ran = 0;
    wake_set(&urgent_wake);
    CHECK(urgent_ran == 0); // cooperative: nothing happens by itself
    sched_relax();
    CHECK(urgent_ran == 1);
    uint64_t longest, looks;
    sched_relax_stats(&longest, &looks);
    CHECK(looks > 0);
    return NULL;
}

struct gang_work {
    uint32_t touched[1000];
    uint8_t worker[1000];
};
static void gang_item(void *ctx, size_t i, unsigned worker)
{
    struct gang_work *w = ctx;
    w->touched[i]++;
    w->worker[i] = (uint8_t)worker;
    volatile double x = 0;
    for (int k = 0; k < 50; k++) {
        x += sqrt((double)(i + (size_t)k));
    }
}
static const char *test_gang(void)
{
    struct gang_work *w = calloc(1, sizeof *w);
    CHECK(w);
    unsigned width = sched_cpu_count(), wide = 0;
    for (unsigned round = 1; round <= 60; round++) {
        size_t count = round % 7 == 0 ? 3 : 1000;
        memset(w->touched, 0, sizeof w->touched);
        sched_gang(gang_item, w, count, width);
        unsigned used = width < count ? width : (unsigned)count;
        bool alone = true;
        for (size_t i = 0; i < count; i++) {
            alone &= w->worker[i] == 0;
        }
        wide += !alone;
        for (size_t i = 0; i < count; i++) {
            CHECK(w->touched[i] == 1);
            // static split: worker k has the k-th part; or the caller does it all
            CHECK(alone || (w->worker[i] < used && i >= count * w->worker[i] / used &&
                            i < count * (w->worker[i] + 1u) / used));
        }
        if (round % 20 == 0) {
            strand_sleep_ns(2000000); // helpers fall asleep
        }
    }
    CHECK(width == 1 || wide > 0);
    free(w);
    return NULL;
}

// Floating-point state survives switches and interrupts.
static double series(int n)
{
    double s = 0;
    for (int i = 1; i < n; i++) {
        s += sin((double)i) / (double)i;
        if (i % 500 == 0) {
            sched_yield();
        }
    }
    return s;
}
static void *float_thread(void *arg)
{
    double expected = *(double *)arg;
    for (int i = 0; i < 3; i++) {
        if (series(4000) != expected) {
            return (void *)"a sum came out differently";
        }
    }
    return NULL;
}
static const char *test_float(void)
{
    pthread_t t[THREADS];
    double expected = series(4000);
    CHECK(expected > 1.0 && expected < 1.1); // (pi - 1) / 2
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, float_thread, &expected) == 0);
    }
    const char *why = NULL;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        CHECK(pthread_join(t[i], &result) == 0);
        why = result ? result : why;
    }
    return why;
}

static void *where(void *arg)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)(uintptr_t)arg, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        return NULL;
    }
    struct strand_info info[64];
    size_t n = sched_snapshot(info, 64);
    for (size_t i = 0; i < n && i < 64; i++) {
        if (strcmp(info[i].state, "running") == 0 && info[i].cpu == (uint32_t)(uintptr_t)arg &&
            info[i].id == (uint32_t)gettid()) {
            return (void *)1;
        }
    }
    return NULL;
}
static const char *test_affinity(void)
{
    for (uintptr_t cpu = 0; cpu < sched_cpu_count(); cpu++) {
        pthread_t t;
        void *ok;
        CHECK(pthread_create(&t, NULL, where, (void *)cpu) == 0);
        CHECK(pthread_join(t, &ok) == 0 && ok);
    }
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    CHECK((uint32_t)CPU_COUNT(&set) == sched_cpu_count());
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) == (long)sched_cpu_count());
    return NULL;
}

const struct selftest thread_tests[] = {
    {"threads", test_threads}, {"cond", test_cond},         {"keys", test_keys},
    {"strands", test_strands}, {"relax", test_relax},       {"gang", test_gang},
    {"float", test_float},     {"affinity", test_affinity}, {NULL, NULL},
};
