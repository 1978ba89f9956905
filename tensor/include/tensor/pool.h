// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where tensor work runs: an interface, so that the runtime knows neither pthreads nor strands.
#ifndef TENSOR_POOL_H
#define TENSOR_POOL_H

#include <stddef.h>

struct tn_pool {
    unsigned width; // workers, at least 1
    void *ctx;
    // Calls tile(arg, i, worker) for all i in [0, count), worker in [0, width), in any order and by
    // any worker (a worker runs one tile at a time): results do not depend on it. Returns when all
    // are done.
    void (*run)(struct tn_pool *p, void (*tile)(void *arg, size_t i, unsigned worker), void *arg,
                size_t count);
    // Called between tiles on each worker, may be NULL (the libos's sched_relax).
    void (*relax)(void);
};
// The host's pool: pthreads that spin briefly, then sleep (tensor/core/pool_host.c; not in guests).
// NULL: no memory.
struct tn_pool *tn_pool_threads(unsigned width);
void tn_pool_free(struct tn_pool *p);
// Everything on the caller.
extern struct tn_pool tn_pool_single;

#endif
