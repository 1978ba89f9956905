// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Futexes: waiters in a hash table by address. Meaning of the operations: futex(2).
#include "libos/posix/internal.h"

#include "libos/sched.h"
#include "libos/spin.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define BUCKETS 64u

enum {
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    FUTEX_REQUEUE = 3,
    FUTEX_CMP_REQUEUE = 4,
    FUTEX_WAIT_BITSET = 9,
    FUTEX_WAKE_BITSET = 10,
    FUTEX_PRIVATE = 128,
    FUTEX_REALTIME = 256,
};

struct waiter { // on the waiting strand's stack
    const uint32_t *address;
    uint32_t bits;
    bool queued; // under the bucket's lock, as all but `wake`
    struct waiter *next, *prev;
    struct wake wake;
};
struct bucket {
    uint32_t lock;
    struct waiter *first, *last;
};
static struct bucket table[BUCKETS];

static struct bucket *bucket_of(const uint32_t *address)
{
    return &table[((uint64_t)address >> 2) * 0x9e3779b97f4a7c15ull >> 58];
}
static void append(struct bucket *b, struct waiter *w)
{
    w->next = NULL;
    w->prev = b->last;
    *(b->last ? &b->last->next : &b->first) = w;
    b->last = w;
    w->queued = true;
}
static void take_out(struct bucket *b, struct waiter *w)
{
    *(w->prev ? &w->prev->next : &b->first) = w->next;
    *(w->next ? &w->next->prev : &b->last) = w->prev;
    w->queued = false;
}

static long wait(const uint32_t *address, uint32_t value, uint32_t bits, uint64_t deadline)
{
    struct bucket *b = bucket_of(address);
    struct waiter w = {.address = address, .bits = bits, .wake = WAKE_INIT};
    spin_lock(&b->lock);
    if (__atomic_load_n(address, __ATOMIC_SEQ_CST) != value) {
        spin_unlock(&b->lock);
        return -EAGAIN;
    }
    append(b, &w);
    spin_unlock(&b->lock);
    wake_wait(&w.wake, deadline);
    // A waker may be just about to touch w: it takes w off under the lock and wakes under it.
    // A requeue may have moved w, so the bucket is found again until it stays the same.
    for (;;) {
        b = bucket_of(__atomic_load_n(&w.address, __ATOMIC_ACQUIRE));
        spin_lock(&b->lock);
        if (b == bucket_of(w.address)) {
            break;
        }
        spin_unlock(&b->lock);
    }
    bool timed_out = w.queued;
    if (timed_out) {
        take_out(b, &w);
    }
    spin_unlock(&b->lock);
    return timed_out ? -ETIMEDOUT : 0;
}

static long wake(const uint32_t *address, uint32_t count, uint32_t bits)
{
    struct bucket *b = bucket_of(address);
    long woken = 0;
    spin_lock(&b->lock);
    for (struct waiter *w = b->first, *next; w && (uint32_t)woken < count; w = next) {
        next = w->next;
        if (w->address == address && (w->bits & bits)) {
            take_out(b, w);
            wake_set(&w->wake);
            woken++;
        }
    }
    spin_unlock(&b->lock);
    return woken;
}

static long requeue(const uint32_t *from, uint32_t wake_count, const uint32_t *to, uint32_t count,
                    const uint32_t *expected)
{
    struct bucket *a = bucket_of(from), *b = bucket_of(to);
    spin_lock(a < b ? &a->lock : &b->lock);
    if (a != b) {
        spin_lock(a < b ? &b->lock : &a->lock);
    }
    long done = 0;
    if (expected && __atomic_load_n(from, __ATOMIC_SEQ_CST) != *expected) {
        done = -EAGAIN;
    } else {
        uint32_t woken = 0, moved = 0;
        for (struct waiter *w = a->first, *next; w && (woken < wake_count || moved < count);
             w = next) {
            next = w->next;
            if (w->address != from) {
                continue;
            }
            take_out(a, w);
            if (woken < wake_count) {
                wake_set(&w->wake);
                woken++;
            } else {
                __atomic_store_n(&w->address, to, __ATOMIC_RELEASE);
                append(b, w);
                moved++;
                if (to == from) { // appended behind us: do not meet it again
                    break;
                }
            }
        }
        done = (long)(woken + moved);
    }
    if (a != b) {
        spin_unlock(&a->lock);
    }
    spin_unlock(&b->lock);
    return done;
}

void futex_wake_address(uint32_t *address, uint32_t count);
void futex_wake_address(uint32_t *address, uint32_t count)
{
    wake(address, count, UINT32_MAX);
}

long call_futex(uint32_t *address, int op, uint32_t value, uint64_t fourth, uint32_t *second,
                uint32_t third_value)
{
    int command = op & ~(FUTEX_PRIVATE | FUTEX_REALTIME);
    uint32_t bits = UINT32_MAX;
    if ((uint64_t)address % 4) {
        return -EINVAL;
    }
    if (command == FUTEX_WAIT_BITSET || command == FUTEX_WAKE_BITSET) {
        bits = third_value;
        if (!bits) {
            return -EINVAL;
        }
    }
    switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
        uint64_t deadline = 0;
        const struct timespec *t = (const struct timespec *)fourth;
        if (t) {
            int e = posix_deadline(t, command == FUTEX_WAIT_BITSET, (op & FUTEX_REALTIME) != 0,
                                   &deadline);
            if (e != 0) {
                return e;
            }
        }
        return wait(address, value, bits, deadline);
    }
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
        return wake(address, value, bits);
    case FUTEX_REQUEUE:
        return requeue(address, value, second, (uint32_t)fourth, NULL);
    case FUTEX_CMP_REQUEUE:
        return requeue(address, value, second, (uint32_t)fourth, &third_value);
    default:
        return -ENOSYS;
    }
}
