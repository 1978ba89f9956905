// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The life of a strand. strand_create goes through pthread_create, so that libc knows the thread;
// libc's clone comes back here as sched_spawn.
#include "libos/sched/internal.h"

#include "libos/mem.h"
#include "libos/posix.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/generation.h"
#include "platform/time.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STACK_DEFAULT 65536ul
#define STACK_LEAST   8192ul
#define STACK_MOST    (64ul << 20)

uint32_t sched_all_lock;
struct strand *sched_all;
static uint32_t last_id = 1;
static uint32_t dead_lock; // protects dead; never taken by interrupt handlers
static struct strand *dead;

struct strand *strand_self(void)
{
    return this_core()->running;
}

void sched_enlist(struct strand *s)
{
    spin_lock(&sched_all_lock);
    s->all_prev = NULL;
    s->all_next = sched_all;
    if (sched_all) {
        sched_all->all_prev = s;
    }
    sched_all = s;
    spin_unlock(&sched_all_lock);
}

static void delist(struct strand *s)
{
    spin_lock(&sched_all_lock);
    *(s->all_prev ? &s->all_prev->all_next : &sched_all) = s->all_next;
    if (s->all_next) {
        s->all_next->all_prev = s->all_prev;
    }
    spin_unlock(&sched_all_lock);
}

static uint32_t least_loaded(void)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < sched_cpu_count(); i++) {
        if (sched_core[i]->strand_count < sched_core[best]->strand_count) {
            best = i;
        }
    }
    return best;
}

// The mapped pages around `sp`: a guard or the end of the block bounds the stack from below.
static uint64_t stack_bottom(uint64_t sp)
{
    uint64_t at = (sp - 1) & ~(PF_PAGE - 1);
    while (sp - at < STACK_MOST && pf_virt_to_phys((void *)(at - PF_PAGE)) != UINT64_MAX) {
        at -= PF_PAGE;
    }
    return at;
}

int sched_spawn(uint64_t sp, void *fn, uint64_t fs, uint32_t *clear_tid, struct strand **out)
{
    struct strand *parent = strand_self();
    const struct strand_spawn *how = parent->forming;
    uint32_t cpu = how ? how->cpu : STRAND_ANY_CPU;
    if (cpu == STRAND_ANY_CPU) {
        cpu = least_loaded();
    }
    for (int i = 0; i < 4 && sched_reap(); i++) { // in case no core is ever idle
    }
    struct strand *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    s->cpu = cpu;
    s->priority = how ? how->priority : parent->priority;
    s->fs = fs;
    s->clear_tid = clear_tid;
    s->doing = "";
    strncpy(s->name, how ? how->name : "thread", sizeof s->name - 1);
    s->stack_high = sp;
    s->stack_low = stack_bottom(sp);
    uint64_t *frame = (uint64_t *)sp - 8;
    memset(frame, 0, 8 * sizeof *frame);
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(x87));
    ((uint32_t *)frame)[0] = mxcsr;
    ((uint32_t *)frame)[1] = x87;
    frame[4] = (uint64_t)fn; // r12 of strand_switch
    frame[7] = (uint64_t)strand_first;
    s->sp = (uint64_t)frame;
    __atomic_add_fetch(&sched_core[cpu]->strand_count, 1, __ATOMIC_RELAXED);
    sched_enlist(s);
    *out = s;
    if (how) {
        ((struct strand_spawn *)how)->made = s;
    }
    return 0;
}

_Noreturn void sched_exit(void)
{
    pf_irq_disable();
    struct core *c = this_core();
    c->running->state = STRAND_DEAD;
    c->dying = c->running; // buried by whoever runs next, off this stack
    sched_block();
    pf_panic("sched: a strand that has ended was run");
}

void sched_move(uint32_t cpu)
{
    uint64_t flags = pf_irq_save();
    struct core *c = this_core();
    struct strand *self = c->running;
    __atomic_sub_fetch(&c->strand_count, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&sched_core[cpu]->strand_count, 1, __ATOMIC_RELAXED);
    self->cpu = cpu;
    c->moving = self; // made ready once this stack is no longer in use
    sched_block();
    pf_irq_restore(flags);
}

void sched_bury(struct strand *s)
{
    __atomic_sub_fetch(&sched_core[s->cpu]->strand_count, 1, __ATOMIC_RELAXED);
    // Whoever joins may unmap the stack from here on: sched_snapshot must be done looking at it.
    spin_lock(&sched_all_lock);
    s->stack_low = s->stack_high = 0;
    spin_unlock(&sched_all_lock);
    if (s->clear_tid) {
        __atomic_store_n(s->clear_tid, 0, __ATOMIC_SEQ_CST);
        futex_wake_address(s->clear_tid, 1);
    }
    spin_lock(&dead_lock);
    s->next = dead;
    dead = s;
    spin_unlock(&dead_lock);
}

bool sched_reap(void)
{
    if (!__atomic_load_n(&dead, __ATOMIC_RELAXED)) {
        return false;
    }
    spin_lock(&dead_lock);
    struct strand *s = dead;
    if (s) {
        dead = s->next;
    }
    spin_unlock(&dead_lock);
    if (!s) {
        return false;
    }
    delist(s);
    if (s->unmap_bytes) {
        posix_unmap(s->unmap_base, s->unmap_bytes);
    }
    free(s);
    return true;
}

struct start {
    void (*run)(void *arg);
    void *arg;
};

static void *start_strand(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    s.run(s.arg);
    return NULL;
}

int strand_create(const char *name, void (*run)(void *arg), void *arg,
                  enum strand_priority priority, uint32_t cpu, size_t stack_bytes,
                  struct strand **out)
{
    if (!name || !run || (unsigned)priority >= STRAND_PRIORITY_COUNT || stack_bytes > STACK_MOST ||
        (cpu != STRAND_ANY_CPU && cpu >= sched_cpu_count())) {
        return -EINVAL;
    }
    stack_bytes = stack_bytes ? stack_bytes : STACK_DEFAULT;
    stack_bytes = stack_bytes < STACK_LEAST ? STACK_LEAST : stack_bytes;
    struct start *start = malloc(sizeof *start);
    if (!start) {
        return -ENOMEM;
    }
    *start = (struct start){run, arg};
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, stack_bytes);
    struct strand_spawn how = {.name = name, .priority = (uint8_t)priority, .cpu = cpu};
    struct strand *self = strand_self();
    pthread_t thread;
    self->forming = &how;
    int e = pthread_create(&thread, &attr, start_strand, start);
    self->forming = NULL;
    if (e != 0) {
        free(start);
        return e == EAGAIN ? -ENOMEM : -e;
    }
    if (out) {
        *out = how.made;
    }
    return 0;
}

void strand_set_name(const char *name)
{
    struct strand *s = strand_self();
    memset(s->name, 0, sizeof s->name);
    strncpy(s->name, name, sizeof s->name - 1);
}

void strand_set_priority(enum strand_priority priority)
{
    if ((unsigned)priority < STRAND_PRIORITY_COUNT) {
        strand_self()->priority = (uint8_t)priority;
        sched_relax();
    }
}

void strand_doing(const char *what)
{
    strand_self()->doing = what;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)((__uint128_t)ticks * 1000000000u / pf_tsc_hz());
}

uint64_t sched_now_ns(void)
{
    return pf_now_ns();
}

uint32_t sched_generation(void)
{
    return pf_generation();
}

uint64_t sched_strand_ns(void)
{
    struct core *c = this_core();
    return ticks_to_ns(c->running->ticks + pf_rdtsc() - c->switch_tsc);
}

uint64_t sched_busy_ns(void)
{
    uint64_t ticks = 0, now = pf_rdtsc();
    spin_lock(&sched_all_lock);
    for (const struct strand *s = sched_all; s; s = s->all_next) {
        ticks += s->ticks;
    }
    spin_unlock(&sched_all_lock);
    return ticks_to_ns(ticks + now - this_core()->switch_tsc);
}

static void describe(const struct strand *s, struct strand_info *o)
{
    static const char *const states[] = {"running", "ready", "waiting", "sleeping", "ended"};
    memset(o, 0, sizeof *o);
    o->id = s->id;
    o->cpu = s->cpu;
    o->priority = s->priority;
    memcpy(o->name, s->name, sizeof o->name);
    o->state = states[s->state <= STRAND_DEAD ? s->state : STRAND_DEAD];
    o->doing = s->doing;
    o->cpu_ns = ticks_to_ns(s->ticks);
    o->switches = s->switches;
    o->stack_bytes = s->stack_high - s->stack_low;
    // Stacks start out cleared: the first byte that is not zero is the high-water mark.
    const uint64_t *at = (const uint64_t *)s->stack_low;
    while (s->stack_low && (uint64_t)at < s->stack_high && *at == 0) {
        at++;
    }
    o->stack_used = s->stack_low ? s->stack_high - (uint64_t)at : 0;
}

size_t sched_snapshot(struct strand_info *out, size_t max)
{
    size_t n = 0;
    spin_lock(&sched_all_lock);
    for (const struct strand *s = sched_all; s; s = s->all_next) {
        if (n < max) {
            describe(s, &out[n]);
        }
        n++;
    }
    spin_unlock(&sched_all_lock);
    return n;
}
