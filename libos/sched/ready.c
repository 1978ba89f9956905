// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What interrupt handlers may do: make strands ready. Built with general registers only (build.mk).
#include "libos/sched/internal.h"

#include "platform/irq.h"

void sched_push(struct core *c, struct strand *s, bool front)
{
    unsigned p = s->priority;
    struct strand *head = c->ready_head[p];
    s->state = STRAND_READY;
    if (!head) {
        s->next = NULL;
        c->ready_head[p] = c->ready_tail[p] = s;
        __atomic_store_n(&c->ready_mask, c->ready_mask | 1u << p, __ATOMIC_RELAXED);
    } else if (front) {
        s->next = head;
        c->ready_head[p] = s;
    } else {
        s->next = NULL;
        c->ready_tail[p]->next = s;
        c->ready_tail[p] = s;
    }
}

struct strand *sched_pop(struct core *c)
{
    if (!c->ready_mask) {
        return NULL;
    }
    unsigned p = (unsigned)__builtin_ctz(c->ready_mask);
    struct strand *s = c->ready_head[p];
    c->ready_head[p] = s->next;
    if (!s->next) {
        c->ready_tail[p] = NULL;
        __atomic_store_n(&c->ready_mask, c->ready_mask & ~(1u << p), __ATOMIC_RELAXED);
    }
    s->next = NULL;
    return s;
}

void sched_ready(struct strand *s)
{
    struct core *c = sched_core[s->cpu];
    uint64_t flags = spin_lock_irq(&c->lock);
    sched_push(c, s, false);
    spin_unlock(&c->lock);
    // The queue must be seen to have grown before `halting` is read: the idle loop sets the one and
    // then reads the other.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (c != this_core() && __atomic_load_n(&c->halting, __ATOMIC_RELAXED)) {
        pf_ipi_wake(c->index);
    }
    pf_irq_restore(flags);
}

// waiters points at the last of a ring of strands, so that the first is one step away.
bool wake_remove(struct wake *w, struct strand *s)
{
    struct strand *last = w->waiters;
    if (!last) {
        return false;
    }
    struct strand *before = last;
    do {
        if (before->next == s) {
            before->next = s->next;
            if (s == last) {
                w->waiters = before == s ? NULL : before;
            }
            s->wake = NULL;
            return true;
        }
        before = before->next;
    } while (before != last);
    return false;
}

void wake_set(struct wake *w)
{
    uint64_t flags = spin_lock_irq(&w->lock);
    struct strand *last = w->waiters;
    if (last) { // hand it to the one that has waited longest
        struct strand *first = last->next;
        wake_remove(w, first);
        first->granted = true;
        sched_ready(first);
    } else {
        __atomic_store_n(&w->set, 1, __ATOMIC_RELEASE);
    }
    spin_unlock_irq(&w->lock, flags);
}

void sched_timer_interrupt(void *arg)
{
    (void)arg;
    struct core *c = this_core();
    if (c) {
        c->armed_ns = 0;
        __atomic_store_n(&c->timer_due, 1, __ATOMIC_RELAXED);
    }
}
