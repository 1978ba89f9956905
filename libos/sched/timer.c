// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Deadlines: of waiting strands and of sched_timers, in one heap a core behind the core's one-shot
// timer interrupt. The interrupt only sets timer_due; the core looks at its next switch or relax.
#include "libos/sched/internal.h"
#include "libos/sched/pairing.h"

#include "platform/irq.h"
#include "platform/power.h"
#include "platform/time.h"

// priv[3] of a timer: where it is.
enum { IDLE, IN_HEAP, EXPIRED };
static uintptr_t place(uint32_t core, unsigned where)
{
    return (uintptr_t)core << 8 | where;
}
static unsigned where_of(const struct sched_timer *t)
{
    return (unsigned)((uintptr_t)__atomic_load_n(&t->priv[3], __ATOMIC_ACQUIRE) & 0xff);
}

void sched_timers_program(struct core *c)
{
    spin_lock(&c->timer_lock);
    uint64_t first = c->timers ? c->timers->deadline_ns : 0;
    spin_unlock(&c->timer_lock);
    if (first && (c->armed_ns == 0 || first < c->armed_ns)) {
        c->armed_ns = first;
        pf_timer_arm(first);
    }
}

static void insert(struct core *c, struct sched_timer *t, uint64_t deadline_ns)
{
    uint64_t flags = spin_lock_irq(&c->timer_lock);
    t->deadline_ns = deadline_ns ? deadline_ns : 1;
    t->priv[3] = (void *)place(c->index, IN_HEAP);
    c->timers = pairing_insert(c->timers, t);
    spin_unlock(&c->timer_lock);
    sched_timers_program(c);
    pf_irq_restore(flags);
}

static void take_out(struct sched_timer *t)
{
    uintptr_t at;
    while (at = (uintptr_t)__atomic_load_n(&t->priv[3], __ATOMIC_ACQUIRE), (at & 0xff) != IDLE) {
        struct core *c = sched_core[at >> 8];
        uint64_t flags = spin_lock_irq(&c->timer_lock);
        if (where_of(t) == IN_HEAP) {
            c->timers = pairing_remove(c->timers, t);
            t->priv[3] = (void *)place(0, IDLE);
        } else if (where_of(t) == EXPIRED) {
            struct sched_timer *before = NULL, *x = c->expired_head;
            while (x != t) {
                before = x;
                x = x->priv[0];
            }
            *(before ? (struct sched_timer **)&before->priv[0] : &c->expired_head) = t->priv[0];
            if (c->expired_tail == t) {
                c->expired_tail = before;
            }
            t->priv[3] = (void *)place(0, IDLE);
        }
        spin_unlock_irq(&c->timer_lock, flags);
    }
}

// The strand of an expired deadline is taken off what it waits for, unless a wake came first.
static void strand_timeout(struct strand *s)
{
    struct wake *w = __atomic_load_n(&s->wake, __ATOMIC_ACQUIRE);
    if (!w) {
        return;
    }
    spin_lock(&w->lock);
    bool waited = wake_remove(w, s);
    spin_unlock(&w->lock);
    if (waited) {
        sched_ready(s);
    }
}

void sched_timers_run(struct core *c)
{
    __atomic_store_n(&c->timer_due, 0, __ATOMIC_RELAXED);
    bool callbacks = false;
    uint64_t now = pf_now_ns();
    for (;;) {
        spin_lock(&c->timer_lock);
        struct sched_timer *t = c->timers;
        if (!t || t->deadline_ns > now) {
            spin_unlock(&c->timer_lock);
            break;
        }
        c->timers = pairing_remove(c->timers, t);
        if (t->fire) {
            t->priv[0] = NULL;
            t->priv[3] = (void *)place(c->index, EXPIRED);
            if (c->expired_tail) {
                c->expired_tail->priv[0] = t;
            } else {
                c->expired_head = t;
            }
            c->expired_tail = t;
            callbacks = true;
        } else {
            t->priv[3] = (void *)place(0, IDLE);
        }
        spin_unlock(&c->timer_lock);
        if (!t->fire) {
            strand_timeout(t->arg);
        }
    }
    if (callbacks) {
        wake_set(&c->timer_wake);
    }
    sched_timers_program(c);
}

static struct sched_timer *next_expired(struct core *c)
{
    uint64_t flags = spin_lock_irq(&c->timer_lock);
    struct sched_timer *t = c->expired_head;
    if (t) {
        c->expired_head = t->priv[0];
        if (!c->expired_head) {
            c->expired_tail = NULL;
        }
        __atomic_store_n(&t->priv[3], (void *)place(0, IDLE), __ATOMIC_RELEASE);
    }
    spin_unlock_irq(&c->timer_lock, flags);
    return t;
}

static void timer_strand(void *arg)
{
    struct core *c = arg;
    for (;;) {
        struct sched_timer *t;
        while ((t = next_expired(c)) != NULL) {
            strand_doing("a timer");
            t->fire(t->arg);
        }
        strand_doing("");
        wake_wait(&c->timer_wake, 0);
    }
}

void sched_timer_arm(struct sched_timer *t, uint64_t deadline_ns)
{
    PF_ASSERT(t->fire != NULL);
    struct core *c = this_core();
    take_out(t);
    if (!c->timer_strand) {
        char name[] = "timer/00";
        name[6] = (char)('0' + c->index / 10);
        name[7] = (char)('0' + c->index % 10);
        if (strand_create(name, timer_strand, c, STRAND_REALTIME, c->index, 32768,
                          &c->timer_strand) != 0) {
            pf_panic("sched: not enough memory for the timer strand of CPU %u", c->index);
        }
    }
    insert(c, t, deadline_ns);
}

void sched_timer_cancel(struct sched_timer *t)
{
    take_out(t);
}

void timeout_arm(struct strand *s, uint64_t deadline_ns)
{
    s->timeout.fire = NULL;
    s->timeout.arg = s;
    insert(this_core(), &s->timeout, deadline_ns);
}
void timeout_cancel(struct strand *s)
{
    take_out(&s->timeout);
}
