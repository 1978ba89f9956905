/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A fixed set of threads that share out numbered pieces of work.
 */
#ifndef TRAIN_POOL_H
#define TRAIN_POOL_H

#include <stddef.h>

struct train_pool;

/* `thread` is below the number of threads; the same thread never runs two pieces at a time. */
typedef void train_piece_fn(void *context, size_t piece, unsigned thread);

/* Returns NULL when threads or memory are short. The calling thread is one of the `threads`. */
struct train_pool *train_pool_new(unsigned threads);
void train_pool_free(struct train_pool *pool);
unsigned train_pool_threads(const struct train_pool *pool);

/* Runs pieces 0 .. count - 1 in any order and returns when all are done. */
void train_pool_run(struct train_pool *pool, train_piece_fn *fn, void *context, size_t count);

#endif
