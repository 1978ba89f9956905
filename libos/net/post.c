// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The call queue: producers push onto a stack with one exchange, the consumer takes all of it at
// once and reverses it.
#include "libos/net/post.h"

#include <errno.h>
#include <stdlib.h>

struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
};

int post_put(struct post_queue *q, void (*fn)(void *arg), void *arg)
{
    if (__atomic_fetch_add(&q->count, 1, __ATOMIC_RELAXED) >= POST_MAX)
        goto full;
    struct post *p = malloc(sizeof *p);
    if (p == NULL)
        goto full;
    *p = (struct post){__atomic_load_n(&q->newest, __ATOMIC_RELAXED), fn, arg};
    // Release: the consumer sees what fn's caller wrote before.
    while (!__atomic_compare_exchange_n(&q->newest, &p->next, p, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    return 0;
full:
    __atomic_fetch_sub(&q->count, 1, __ATOMIC_RELAXED);
    return -ENOMEM;
}

bool post_run(struct post_queue *q)
{
    struct post *p = __atomic_exchange_n(&q->newest, NULL, __ATOMIC_ACQUIRE), *oldest = NULL;
    bool any = p != NULL;
    while (p) {
        struct post *next = p->next;
        p->next = oldest;
        oldest = p;
        p = next;
    }
    while (oldest) {
        struct post post = *oldest;
        free(oldest);
        oldest = post.next;
        __atomic_fetch_sub(&q->count, 1, __ATOMIC_RELAXED);
        post.fn(post.arg);
    }
    return any;
}
