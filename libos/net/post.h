// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Calls handed to the net strand: any strand puts them in, one takes them out, in order, without
// locks.
#ifndef LIBOS_NET_POST_H
#define LIBOS_NET_POST_H

#include <stdbool.h>
#include <stddef.h>

struct post;
struct post_queue {
    struct post *newest; // atomic: a stack of what came since the last run
    size_t count;        // atomic: bounds the memory of it
};
enum { POST_MAX = 65536 };

// -ENOMEM when full or out of memory.
int post_put(struct post_queue *q, void (*fn)(void *arg), void *arg);
// Runs what was there when it was called; true if anything was.
bool post_run(struct post_queue *q);

#endif
