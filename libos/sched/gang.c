// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Gangs: one piece of work on several cores. Core k of n does the k-th n-th of the items, always,
// so nothing depends on timing. Helpers spin briefly between jobs (a decode step is hundreds of
// jobs a few microseconds apart), then sleep; how long they spin follows what it brought.
#include "libos/sched/gang_width.h"
#include "libos/sched/internal.h"

#include "platform/time.h"

#include <stdlib.h>

#define SPIN_MOST_NS  50000u
#define SPIN_START_NS 30000u
#define SPIN_LEAST_NS 1000u
#define STOLEN_NS     100000u // a gap this long between two looks: the host took the core away
#define STACK_BYTES   (256ul << 10)

struct job {
    void (*fn)(void *ctx, size_t i, unsigned worker);
    void *ctx;
    size_t count;
    unsigned width;
    enum strand_priority priority;
};
struct helper {        // one a core; written by the leader but for `sleeping`, `spin_ns`
    uint32_t sequence; // grows with each job; release by the leader, acquire by the helper
    uint32_t sleeping;
    struct wake wake;
    unsigned worker; // its number in this job
    bool started;
    uint64_t spin_ns;
} __attribute__((aligned(64)));

static struct helper helpers[PF_MAX_CPUS];
static uint32_t busy; // one gang at a time; a second one runs alone on its own core
static struct job job;
static struct gang_judge judge; // under busy, as job
static uint32_t pending __attribute__((aligned(64)));
static uint32_t leader_sleeping __attribute__((aligned(64)));
static struct wake leader_wake;

static void run_share(const struct job *j, unsigned worker)
{
    size_t from = j->count * worker / j->width, to = j->count * (worker + 1) / j->width;
    for (size_t i = from; i < to; i++) {
        j->fn(j->ctx, i, worker);
        sched_relax();
    }
}

// Spins until *word != value, at most *budget_ns; lets equals and betters of this core run.
static bool spin_for_change(const uint32_t *word, uint32_t value, uint64_t *budget_ns)
{
    uint64_t start = pf_now_ns(), last = start;
    struct core *c = this_core();
    for (;;) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
            return true;
        }
        uint64_t now = pf_now_ns();
        if (now - last > STOLEN_NS) { // more cores than the host has: spinning hurts
            *budget_ns = SPIN_LEAST_NS;
            return false;
        }
        if (now - start > *budget_ns) {
            return false;
        }
        last = now;
        if (__atomic_load_n(&c->ready_mask, __ATOMIC_RELAXED) ||
            __atomic_load_n(&c->timer_due, __ATOMIC_RELAXED)) {
            strand_yield();
            last = pf_now_ns();
        }
        for (int i = 0; i < 8; i++) {
            pf_pause();
        }
    }
}

static void helper_wait(struct helper *h, uint32_t seen)
{
    if (spin_for_change(&h->sequence, seen, &h->spin_ns)) {
        return;
    }
    h->spin_ns = h->spin_ns / 2 < SPIN_LEAST_NS ? SPIN_LEAST_NS : h->spin_ns / 2;
    uint64_t slept = pf_now_ns();
    __atomic_store_n(&h->sleeping, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&h->sequence, __ATOMIC_SEQ_CST) == seen) {
        wake_wait(&h->wake, 0);
    }
    __atomic_store_n(&h->sleeping, 0, __ATOMIC_RELAXED);
    if (pf_now_ns() - slept < SPIN_MOST_NS) { // would have been worth it
        h->spin_ns = h->spin_ns * 4 > SPIN_MOST_NS ? SPIN_MOST_NS : h->spin_ns * 4;
    }
}

static void helper_strand(void *arg)
{
    struct helper *h = arg;
    uint32_t seen = 0;
    for (;;) {
        helper_wait(h, seen);
        seen = __atomic_load_n(&h->sequence, __ATOMIC_ACQUIRE);
        strand_self()->priority = (uint8_t)job.priority;
        strand_doing("a gang's share");
        run_share(&job, h->worker);
        strand_doing("");
        // The leader reads `pending` after it has said that it sleeps.
        if (__atomic_sub_fetch(&pending, 1, __ATOMIC_SEQ_CST) == 0 &&
            __atomic_load_n(&leader_sleeping, __ATOMIC_SEQ_CST)) {
            wake_set(&leader_wake);
        }
    }
}

static bool helper_ready(uint32_t cpu, enum strand_priority priority)
{
    struct helper *h = &helpers[cpu];
    if (!h->started) {
        char name[] = "gang/00";
        name[5] = (char)('0' + cpu / 10);
        name[6] = (char)('0' + cpu % 10);
        h->spin_ns = SPIN_START_NS;
        h->started = strand_create(name, helper_strand, h, priority, cpu, STACK_BYTES, NULL) == 0;
    }
    return h->started;
}

static void wait_for_helpers(void)
{
    static uint64_t spin_ns = SPIN_MOST_NS;
    uint32_t left;
    uint64_t budget = spin_ns;
    while ((left = __atomic_load_n(&pending, __ATOMIC_ACQUIRE)) != 0) {
        if (!spin_for_change(&pending, left, &budget)) {
            break;
        }
    }
    // A stolen core shortens the spin for a while; success brings it back.
    spin_ns = budget < spin_ns                ? budget
              : spin_ns + 1000 > SPIN_MOST_NS ? SPIN_MOST_NS
                                              : spin_ns + 1000;
    __atomic_store_n(&leader_sleeping, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pending, __ATOMIC_SEQ_CST) != 0) {
        wake_wait(&leader_wake, 0);
    }
    __atomic_store_n(&leader_sleeping, 0, __ATOMIC_RELAXED);
}

void sched_gang(void (*fn)(void *ctx, size_t i, unsigned worker), void *ctx, size_t count,
                unsigned width)
{
    uint32_t cpus = sched_cpu_count();
    width = width > cpus ? cpus : width;
    width = width > count ? (unsigned)count : width;
    struct job alone = {.fn = fn, .ctx = ctx, .count = count, .width = 1};
    if (width <= 1 || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
        run_share(&alone, 0);
        return;
    }
    uint64_t start = pf_now_ns();
    if (!gang_judge_wide(&judge, (uintptr_t)fn, count, start)) {
        run_share(&alone, 0);
        gang_judge_narrow_ran(&judge, (uintptr_t)fn, count, pf_now_ns() - start);
        __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
        return;
    }
    struct strand *self = strand_self();
    uint32_t chosen[PF_MAX_CPUS], n = 0;
    for (uint32_t cpu = 0; cpu < cpus && n + 1 < width; cpu++) {
        if (cpu != self->cpu && helper_ready(cpu, self->priority)) {
            chosen[n++] = cpu;
        }
    }
    job = alone;
    job.width = n + 1;
    job.priority = self->priority;
    __atomic_store_n(&pending, n, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < n; i++) {
        struct helper *h = &helpers[chosen[i]];
        h->worker = i + 1;
        __atomic_add_fetch(&h->sequence, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&h->sleeping, __ATOMIC_SEQ_CST)) {
            wake_set(&h->wake);
        }
    }
    uint64_t own_start = pf_now_ns();
    run_share(&job, 0);
    uint64_t own = pf_now_ns() - own_start;
    wait_for_helpers();
    uint64_t now = pf_now_ns();
    gang_judge_wide_ran(&judge, (uintptr_t)fn, count, n + 1, own, now - start, now);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
