/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A fixed set of threads that share out numbered pieces of work. Which thread takes a piece varies;
 * callers keep results by piece, so that they do not.
 */
#include "tensor/train/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct train_pool {
    unsigned threads, started;
    pthread_t *thread;
    pthread_barrier_t begin, end;
    train_piece_fn *fn; /* these are written between `end` and `begin` only */
    void *context;
    size_t count;
    bool stop;
    atomic_size_t next;   /* relaxed: the barriers order everything else */
    atomic_uint identity; /* the next thread's number */
};

static void work(struct train_pool *pool, unsigned thread)
{
    size_t piece;

    while ((piece = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->count)
        pool->fn(pool->context, piece, thread);
}

static void *thread_main(void *argument)
{
    struct train_pool *pool = argument;
    const unsigned thread = atomic_fetch_add(&pool->identity, 1);

    for (;;) {
        pthread_barrier_wait(&pool->begin);
        if (pool->stop)
            return NULL;
        work(pool, thread);
        pthread_barrier_wait(&pool->end);
    }
}

struct train_pool *train_pool_new(unsigned threads)
{
    struct train_pool *pool = calloc(1, sizeof *pool);

    if (!pool)
        return NULL;
    pool->threads = threads ? threads : 1;
    pool->thread = calloc(pool->threads, sizeof *pool->thread);
    if (!pool->thread)
        goto failed;
    pthread_barrier_init(&pool->begin, NULL, pool->threads);
    pthread_barrier_init(&pool->end, NULL, pool->threads);
    atomic_store(&pool->identity, 1);
    for (unsigned i = 1; i < pool->threads; i++) {
        if (pthread_create(&pool->thread[i], NULL, thread_main, pool))
            abort(); /* the barriers count on every thread */
    }
    return pool;
failed:
    free(pool);
    return NULL;
}

void train_pool_free(struct train_pool *pool)
{
    if (!pool)
        return;
    pool->stop = true;
    pthread_barrier_wait(&pool->begin);
    for (unsigned i = 1; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_barrier_destroy(&pool->begin);
    pthread_barrier_destroy(&pool->end);
    free(pool->thread);
    free(pool);
}

unsigned train_pool_threads(const struct train_pool *pool)
{
    return pool->threads;
}

void train_pool_run(struct train_pool *pool, train_piece_fn *fn, void *context, size_t count)
{
    pool->fn = fn;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pthread_barrier_wait(&pool->begin);
    work(pool, 0);
    pthread_barrier_wait(&pool->end);
}
