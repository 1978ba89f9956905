// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Strands that wait, yield, sleep, or look for more urgent work.
#include "libos/sched/internal.h"

#include "platform/power.h"
#include "platform/time.h"

static bool wait_until(struct wake *w, uint64_t deadline_ns, enum strand_state state)
{
    uint64_t flags = pf_irq_save();
    struct core *c = this_core();
    struct strand *self = c->running;
    PF_ASSERT(self != &c->idle);
    spin_lock(&w->lock);
    if (w->set) {
        w->set = 0;
        spin_unlock(&w->lock);
        pf_irq_restore(flags);
        return true;
    }
    if (deadline_ns && deadline_ns <= pf_now_ns()) {
        spin_unlock(&w->lock);
        pf_irq_restore(flags);
        return false;
    }
    struct strand *last = w->waiters;
    if (last) {
        self->next = last->next;
        last->next = self;
    } else {
        self->next = self;
    }
    w->waiters = self;
    self->granted = false;
    self->wake = w;
    self->state = (uint8_t)state;
    spin_unlock(&w->lock);
    // From here on wake_set may queue this strand; it goes on only when this core gets to it.
    if (deadline_ns) {
        timeout_arm(self, deadline_ns);
    }
    sched_block();
    if (deadline_ns) {
        timeout_cancel(self);
    }
    bool granted = self->granted;
    // The waker may be on another core and still hold the lock: once it is ours, nobody touches *w
    // any more, which may lie on the caller's stack.
    spin_lock(&w->lock);
    spin_unlock(&w->lock);
    pf_irq_restore(flags);
    return granted;
}

bool wake_wait(struct wake *w, uint64_t deadline_ns)
{
    return wait_until(w, deadline_ns, STRAND_WAITING);
}

void strand_sleep_ns(uint64_t ns)
{
    struct wake nobody = WAKE_INIT;
    wait_until(&nobody, pf_now_ns() + ns, STRAND_SLEEPING);
}

void strand_yield(void)
{
    uint64_t flags = pf_irq_save();
    struct core *c = this_core();
    spin_lock(&c->lock);
    sched_push(c, c->running, false);
    spin_unlock(&c->lock);
    sched_block();
    pf_irq_restore(flags);
}

static void relax_slow(void)
{
    uint64_t flags = pf_irq_save();
    struct core *c = this_core();
    struct strand *self = c->running;
    if (c->timer_due) {
        sched_timers_run(c);
    }
    if (c->ready_mask & ((1u << self->priority) - 1)) {
        spin_lock(&c->lock);
        sched_push(c, self, true); // ahead of its equals: its turn is not over
        spin_unlock(&c->lock);
        sched_block();
    }
    pf_irq_restore(flags);
}

void sched_relax(void)
{
    struct core *c = this_core();
    uint64_t now = pf_rdtsc();
    uint64_t gap = now - c->look_tsc;
    c->look_tsc = now;
    c->looks++;
    if (gap > c->longest_look) {
        c->longest_look = gap;
    }
    if (__atomic_load_n(&c->timer_due, __ATOMIC_RELAXED) ||
        (__atomic_load_n(&c->ready_mask, __ATOMIC_RELAXED) & ((1u << c->running->priority) - 1))) {
        relax_slow();
    }
}

void sched_relax_stats(uint64_t *longest_ns, uint64_t *looks)
{
    uint64_t longest = 0, n = 0;
    for (uint32_t i = 0; i < PF_MAX_CPUS; i++) {
        const struct core *c = sched_core[i];
        if (c) {
            longest = c->longest_look > longest ? c->longest_look : longest;
            n += c->looks;
        }
    }
    *longest_ns = (uint64_t)((__uint128_t)longest * 1000000000u / pf_tsc_hz());
    *looks = n;
}
