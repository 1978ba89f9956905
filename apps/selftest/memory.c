// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// malloc, zones and mmap in the guest.
#include "apps/selftest/selftest.h"

#include "libos/mem.h"
#include "libos/sched.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BLOCKS 256
#define ROUNDS 50

struct block {
    uint8_t *p;
    size_t bytes;
    uint8_t value;
};

static const char *stress(uint64_t seed, int steps, size_t large)
{
    struct block b[BLOCKS] = {0};
    for (int step = 0; step < steps; step++) {
        struct block *x = &b[next_random(&seed) % BLOCKS];
        uint32_t r = next_random(&seed);
        size_t bytes = r % 16 ? r / 16 % 600 : r / 16 % large;
        if (!x->p || r % 3 == 0) {
            uint8_t *p = realloc(x->p, bytes + 1);
            CHECK(p != NULL);
            size_t keep = x->p ? (x->bytes < bytes ? x->bytes : bytes) : 0;
            for (size_t i = 0; i < keep; i++) {
                CHECK(p[i] == x->value);
            }
            *x = (struct block){p, bytes + 1, (uint8_t)r};
            memset(p, x->value, x->bytes);
        } else {
            CHECK(x->p[0] == x->value && x->p[x->bytes - 1] == x->value);
            CHECK(malloc_usable_size(x->p) >= x->bytes);
            free(x->p);
            x->p = NULL;
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        free(b[i].p);
    }
    return NULL;
}

static const char *test_malloc(void)
{
    struct mem_stats before, after;
    const char *why = stress(1, 2000, 20000); // fills the caches
    if (why) {
        return why;
    }
    mem_get_stats(&before);
    why = stress(2, 20000, 20000);
    if (why) {
        return why;
    }
    mem_get_stats(&after);
    CHECK(after.free_bytes + (4 << 20) > before.free_bytes); // nothing leaks but for the caches
    for (size_t align = 16; align <= 65536; align *= 2) {
        void *p = NULL;
        CHECK(posix_memalign(&p, align, 1000) == 0 && (uintptr_t)p % align == 0);
        memset(p, 1, 1000);
        free(p);
        p = aligned_alloc(align, 3 * align);
        CHECK(p && (uintptr_t)p % align == 0);
        free(p);
    }
    uint8_t *z = calloc(1000, 50);
    for (int i = 0; i < 50000; i++) {
        CHECK(z[i] == 0);
    }
    free(z);
    volatile size_t huge = SIZE_MAX;
    errno = 0;
    CHECK(malloc(huge / 2) == NULL && errno == ENOMEM);
    CHECK(calloc(huge / 2, 4) == NULL);
    return NULL;
}

static void *stress_thread(void *arg)
{
    return (void *)stress((uint64_t)arg, 4000, 9000);
}

static const char *test_malloc_smp(void)
{
    pthread_t t[16];
    uint32_t n = 2 * sched_cpu_count() > 16 ? 16 : 2 * sched_cpu_count();
    for (uint32_t i = 0; i < n; i++) {
        CHECK(pthread_create(&t[i], NULL, stress_thread, (void *)(uintptr_t)(i + 3)) == 0);
    }
    const char *why = NULL;
    for (uint32_t i = 0; i < n; i++) {
        void *result;
        CHECK(pthread_join(t[i], &result) == 0);
        why = result ? result : why;
    }
    return why;
}

static const char *test_zones(void)
{
    struct mem_stats before, after;
    mem_get_stats(&before);
    uint8_t *dma = mem_zone_alloc(MEM_DMA, 10000);
    CHECK(dma && (uintptr_t)dma % 4096 == 0);
    for (int i = 0; i < 10000; i++) {
        CHECK(dma[i] == 0);
    }
    uint64_t phys = mem_phys(dma);
    CHECK(mem_phys(dma + 8192) == phys + 8192 && mem_phys(dma + 5) == phys + 5);
    uint8_t *tensor = mem_zone_alloc(MEM_TENSOR, (2 << 20) + 5000);
    CHECK(tensor && (uintptr_t)tensor % (2 << 20) == 0);
    memset(tensor, 7, (2 << 20) + 5000);
    mem_get_stats(&after);
    CHECK(after.zone[MEM_DMA].used_bytes == before.zone[MEM_DMA].used_bytes + 12288);
    CHECK(after.zone[MEM_TENSOR].used_bytes ==
          before.zone[MEM_TENSOR].used_bytes + (2 << 20) + 8192);
    mem_zone_free(dma);
    mem_zone_free(tensor);
    CHECK(mem_zone_alloc(MEM_MODEL, after.ram_bytes) == NULL);
    mem_zone_limit(MEM_STORE, 8192);
    void *a = mem_zone_alloc(MEM_STORE, 8192);
    CHECK(a && mem_zone_alloc(MEM_STORE, 1) == NULL);
    mem_zone_free(a);
    mem_zone_limit(MEM_STORE, 0);
    mem_get_stats(&after);
    CHECK(after.zone[MEM_DMA].used_bytes == before.zone[MEM_DMA].used_bytes);
    CHECK(after.zone[MEM_STORE].failures > before.zone[MEM_STORE].failures);
    // All of memory in large pieces, and back.
    void *piece[64];
    int n = 0;
    while (n < 64 && (piece[n] = mem_zone_alloc(MEM_MODEL, 3 << 20)) != NULL) {
        n++;
    }
    CHECK(n > 0);
    while (n > 0) {
        mem_zone_free(piece[--n]);
    }
    return NULL;
}

static const char *test_mmap(void)
{
    uint8_t *p = mmap(NULL, 10 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 10 * 4096; i++) {
        CHECK(p[i] == 0);
        p[i] = 3;
    }
    CHECK(munmap(p + 4096, 2 * 4096) == 0);
    CHECK(munmap(p + 4096, 4096) != 0 && errno == EINVAL);
    CHECK(p[0] == 3 && p[3 * 4096] == 3);
    CHECK(mprotect(p, 4096, PROT_NONE) == 0 && mprotect(p, 4096, PROT_READ) == 0);
    CHECK(p[5] == 3); // contents kept
    uint8_t *q = mremap(p + 3 * 4096, 7 * 4096, 700 * 4096, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q[0] == 3 && q[7 * 4096] == 0);
    CHECK(munmap(p, 4096) == 0 && munmap(q, 700 * 4096) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
               0) == MAP_FAILED);
    CHECK(mmap(NULL, 1ul << 40, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    CHECK(errno == ENOMEM);
    return NULL;
}

// A CPU that sleeps while a page is unmapped and another frame takes its place must not go on with
// the old one when it wakes: it is not interrupted for the change.
static struct {
    volatile uint32_t *page;
    volatile uint32_t seen;
    struct wake go, done;
} sleeper = {.go = WAKE_INIT, .done = WAKE_INIT};

static void read_page(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        wake_wait(&sleeper.go, 0);
        sleeper.seen = *sleeper.page;
        wake_set(&sleeper.done);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *fixed(void *at, int prot)
{
    return mmap(at, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static const char *test_sleeper(void)
{
    if (sched_cpu_count() == 1) {
        return NULL;
    }
    size_t bytes = (ROUNDS + 1) * 4096;
    uint8_t *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED);
    sleeper.page = (uint32_t *)room;
    uint32_t cpu = sched_cpu_count() - 1;
    CHECK(strand_create("sleeper", read_page, NULL, STRAND_HIGH, cpu, 0, NULL) == 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        // Another page takes the frame that this one had (as a rule: the lowest goes first).
        uint8_t *other = room + i * 4096;
        CHECK(fixed(room, PROT_NONE) == room);
        CHECK(fixed(other, PROT_READ | PROT_WRITE) == other);
        *(uint32_t *)other = 0xdead;
        CHECK(fixed(room, PROT_READ | PROT_WRITE) == room);
        *(uint32_t *)room = i;
        wake_set(&sleeper.go);
        CHECK(wake_wait(&sleeper.done, now_ns() + 5000000000u));
        CHECK(sleeper.seen == i);
        strand_sleep_ns(200000); // until it sleeps again
    }
    CHECK(munmap(room, bytes) == 0);
    return NULL;
}

const struct selftest memory_tests[] = {
    {"malloc", test_malloc}, {"malloc-smp", test_malloc_smp}, {"zones", test_zones},
    {"mmap", test_mmap},     {"sleeper", test_sleeper},       {NULL, NULL},
};
