// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The host's pool: pthreads that claim tiles from one ticket, spin briefly for the next job, then
// sleep. The caller works too and waits for tiles, never for threads: a worker that the host
// does not schedule delays nothing that it has not begun.
#include "tensor/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPINS_BEFORE_SLEEP = 20000, SPINS_BEFORE_YIELD = 4000, MOST_TILES = 1 << 30 };

struct threads {
    struct tn_pool pool;
    // count << 32 | next. A claim is a fetch-add: it returns the next tile together with the count
    // of the same job, so a claim below the count is always one of the job whose fields stand
    // below.
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t done; // tiles finished; release by workers, acquire by the caller
    // Written by the caller before it publishes the ticket; stable until all tiles are done.
    _Alignas(64) void (*tile)(void *arg, size_t i, unsigned worker);
    void *arg;
    _Atomic uint32_t sleepers;
    _Atomic bool stop;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct worker {
        struct threads *threads;
        pthread_t thread;
        unsigned index;
    } workers[];
};

static inline void pause_briefly(void)
{
    __builtin_ia32_pause();
}

static bool has_tiles(uint64_t ticket)
{
    return (uint32_t)ticket < (uint32_t)(ticket >> 32);
}

// Runs one tile if there is one.
static bool work_once(struct threads *t, unsigned worker)
{
    if (!has_tiles(atomic_load_explicit(&t->ticket, memory_order_relaxed))) {
        return false;
    }
    uint64_t claim = atomic_fetch_add_explicit(&t->ticket, 1, memory_order_acquire);
    if (!has_tiles(claim)) {
        return false;
    }
    t->tile(t->arg, (uint32_t)claim, worker);
    atomic_fetch_add_explicit(&t->done, 1, memory_order_release);
    return true;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->threads;
    unsigned idle = 0;
    while (!atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        if (work_once(t, w->index)) {
            idle = 0;
            if (t->pool.relax) {
                t->pool.relax();
            }
            continue;
        }
        if (++idle < SPINS_BEFORE_SLEEP) {
            pause_briefly();
            continue;
        }
        idle = 0;
        // Sequentially consistent on both sides: either we see the new ticket or the caller sees
        // us.
        pthread_mutex_lock(&t->lock);
        atomic_fetch_add(&t->sleepers, 1);
        while (!has_tiles(atomic_load(&t->ticket)) && !atomic_load(&t->stop)) {
            pthread_cond_wait(&t->work, &t->lock);
        }
        atomic_fetch_sub(&t->sleepers, 1);
        pthread_mutex_unlock(&t->lock);
    }
    return NULL;
}

static void wake_all(struct threads *t)
{
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
}

static void run_on_threads(struct tn_pool *p, void (*tile)(void *arg, size_t i, unsigned worker),
                           void *arg, size_t count)
{
    struct threads *t = (struct threads *)p;
    if (count <= 1 || p->width == 1 || count > MOST_TILES) {
        for (size_t i = 0; i < count; i++) {
            tile(arg, i, 0);
        }
        return;
    }
    t->tile = tile;
    t->arg = arg;
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);
    atomic_store(&t->ticket, (uint64_t)count << 32);
    if (atomic_load(&t->sleepers)) {
        wake_all(t);
    }
    while (work_once(t, 0)) {
        if (p->relax) {
            p->relax();
        }
    }
    unsigned spins = 0;
    while (atomic_load_explicit(&t->done, memory_order_acquire) != count) {
        if (++spins < SPINS_BEFORE_YIELD) {
            pause_briefly();
        } else {
            sched_yield();
        }
    }
}

struct tn_pool *tn_pool_threads(unsigned width)
{
    if (width == 0) {
        width = 1;
    }
    size_t bytes = sizeof(struct threads) + width * sizeof(struct worker);
    struct threads *t = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!t) {
        return NULL;
    }
    t->pool = (struct tn_pool){.width = 1, .ctx = t, .run = run_on_threads};
    atomic_init(&t->ticket, 0);
    atomic_init(&t->done, 0);
    atomic_init(&t->sleepers, 0);
    atomic_init(&t->stop, false);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    // Fewer threads than asked for is not an error: the width says how many there are.
    for (unsigned i = 1; i < width; i++) {
        struct worker *w = &t->workers[i];
        w->threads = t;
        w->index = i;
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            break;
        }
        t->pool.width = i + 1;
    }
    return &t->pool;
}

void tn_pool_free(struct tn_pool *p)
{
    if (!p || p == &tn_pool_single) {
        return;
    }
    struct threads *t = (struct threads *)p;
    atomic_store(&t->stop, true);
    wake_all(t);
    for (unsigned i = 1; i < t->pool.width; i++) {
        pthread_join(t->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
