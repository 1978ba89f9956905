// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A core: picks the next strand, idles when there is none. A core that halts is woken by whoever
// makes a strand of it ready; it says so (`halting`) before its last look at the queue.
#include "libos/sched/internal.h"

#include "libos/log.h"
#include "libos/mem.h"
#include "platform/irq.h"
#include "platform/power.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <stdlib.h>
#include <string.h>

#define MSR_FS_BASE     0xc0000100u
#define CR4_FSGSBASE    (1ul << 16)
#define CANARY          0x7ab3e55e12c0de00ul // of idle strands, which run before libc has a random one
#define IDLE_STACK      16384ul
#define LOOK_NS         2000000u   // between looks for CPUs that are still starting
#define START_WITHIN_NS 200000000u // for one CPU after another, on a busy emulator

struct core *sched_core[PF_MAX_CPUS];
uint32_t sched_online = 1;
static struct core boot_core;
static struct strand main_strand;
static bool have_wrfsbase;
static uint32_t join_lock;    // protects the next two, and writing sched_online
static bool up[PF_MAX_CPUS];  // ready to take strands
static uint32_t most = 1;     // CPUs that take strands at most
static uint32_t expected = 1; // CPUs that take strands once all have come up

void sched_set_fs(uint64_t base)
{
    if (have_wrfsbase) {
        __asm__ volatile("wrfsbase %0" ::"r"(base));
    } else {
        pf_wrmsr(MSR_FS_BASE, base);
    }
}

static void allow_wrfsbase(void)
{
    uint32_t leaf[4];
    uint64_t cr4;
    pf_cpuid(7, 0, leaf);
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if (leaf[1] & 1) {
        __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_FSGSBASE));
        have_wrfsbase = true;
    }
}

static void core_init(struct core *c, uint32_t index)
{
    c->index = index;
    c->tls[0] = (uint64_t)c->tls;
    c->tls[5] = CANARY;
    c->idle.fs = (uint64_t)c->tls;
    c->idle.cpu = index;
    c->idle.priority = STRAND_PRIORITY_COUNT - 1;
    c->idle.doing = "";
    memcpy(c->idle.name, "idle", 5);
}

void sched_after_switch(void)
{
    struct core *c = this_core();
    if (c->dying) {
        struct strand *s = c->dying;
        c->dying = NULL;
        sched_bury(s);
    }
    if (c->moving) {
        struct strand *s = c->moving;
        c->moving = NULL;
        sched_ready(s);
    }
}

void sched_block(void)
{
    struct core *c = this_core();
    struct strand *self = c->running;
    if (c->timer_due) {
        sched_timers_run(c);
    }
    spin_lock(&c->lock);
    struct strand *next = sched_pop(c);
    spin_unlock(&c->lock);
    if (!next) {
        next = &c->idle;
    }
    next->state = STRAND_RUNNING;
    if (next == self) {
        return;
    }
    uint64_t now = pf_rdtsc();
    self->ticks += now - c->switch_tsc;
    c->switch_tsc = now;
    if (self != &c->idle && now - c->look_tsc > c->longest_look) {
        c->longest_look = now - c->look_tsc;
    }
    c->look_tsc = now;
    next->switches++;
    c->running = next;
    pf_this_cpu()->current = next;
    sched_set_fs(next->fs);
    strand_switch(self, next);
    sched_after_switch();
}

// Interrupts off on entry; on the idle strand's own stack.
static _Noreturn void idle_loop(void)
{
    struct core *c = this_core();
    for (;;) {
        if (c->timer_due) {
            sched_timers_run(c);
        }
        if (__atomic_load_n(&c->ready_mask, __ATOMIC_RELAXED)) {
            sched_block();
            continue;
        }
        pf_irq_enable();
        bool reaped = sched_reap();
        pf_irq_disable();
        if (reaped) {
            continue;
        }
        __atomic_store_n(&c->halting, 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // pairs with sched_ready
        if (!__atomic_load_n(&c->ready_mask, __ATOMIC_RELAXED) &&
            !__atomic_load_n(&c->timer_due, __ATOMIC_RELAXED)) {
            pf_cpu_sleep();
        }
        __atomic_store_n(&c->halting, 0, __ATOMIC_RELAXED);
    }
}

static void idle_first(void)
{
    pf_irq_disable(); // strand_first has turned them on
    idle_loop();
}

void sched_boot_core(void)
{
    struct core *c = &boot_core;
    core_init(c, 0);
    allow_wrfsbase();
    sched_core[0] = c;
    struct strand *s = &main_strand;
    s->id = 1;
    s->priority = STRAND_NORMAL;
    s->doing = "starting";
    s->fs = (uint64_t)c->tls; // until libc has made the main thread's
    memcpy(s->name, "main", 5);
    c->running = s;
    c->switch_tsc = c->look_tsc = pf_rdtsc();
    c->strand_count = 1;
    pf_this_cpu()->libos = c;
    pf_this_cpu()->current = s;
    sched_set_fs(s->fs);
    sched_enlist(s);
}

// Strands are numbered through: a CPU takes them once all before it do.
static void count_up(void)
{
    uint32_t n = sched_online;
    while (n < most && up[n]) {
        n++;
    }
    __atomic_store_n(&sched_online, n, __ATOMIC_RELEASE);
}

static void join(uint32_t index)
{
    spin_lock(&join_lock);
    up[index] = true;
    count_up();
    spin_unlock(&join_lock);
}

static _Noreturn void core_entry(uint32_t index)
{
    struct core *c = sched_core[index];
    while (!c) { // there was no memory for it
        pf_cpu_sleep();
    }
    pf_this_cpu()->libos = c;
    pf_this_cpu()->current = &c->idle;
    if (have_wrfsbase) {
        allow_wrfsbase();
    }
    c->running = &c->idle;
    c->switch_tsc = c->look_tsc = pf_rdtsc();
    sched_set_fs(c->idle.fs);
    join(index);
    idle_loop();
}

static void prepare_idle_stack(struct core *c)
{
    // The boot CPU's idle strand; other CPUs idle on the stack they came up on.
    uint8_t *stack = malloc(IDLE_STACK);
    if (!stack) {
        pf_panic("sched: not enough memory for the idle strand");
    }
    memset(stack, 0, IDLE_STACK);
    uint64_t *top = (uint64_t *)(stack + IDLE_STACK);
    *--top = 0;
    *--top = 0; // argument, at 8 past a multiple of 16 below
    top = (uint64_t *)((uint64_t)top & ~15ul) - 1;
    c->idle.sp = (uint64_t)top;
    c->idle.stack_low = (uint64_t)stack;
    c->idle.stack_high = (uint64_t)stack + IDLE_STACK;
    uint64_t *frame = top - 8;
    memset(frame, 0, 8 * sizeof *frame);
    ((uint32_t *)frame)[0] = 0x1f80; // MXCSR: all exceptions masked
    ((uint32_t *)frame)[1] = 0x37f;
    frame[4] = (uint64_t)idle_first; // r12
    frame[7] = (uint64_t)strand_first;
    c->idle.sp = (uint64_t)frame;
}

void sched_init(void)
{
    pf_timer_handler(sched_timer_interrupt);
    prepare_idle_stack(&boot_core);
}

void sched_start_cpus(void)
{
    uint32_t present = pf_cpu_present(), limit = present;
    present = present > PF_MAX_CPUS ? PF_MAX_CPUS : present;
    for (uint32_t i = 1; i < present; i++) {
        struct core *c = aligned_alloc(64, (sizeof *c + 63) & ~63ul);
        if (!c) {
            log_warn("sched", "not enough memory for CPU %u and beyond", i);
            limit = i;
            break;
        }
        memset(c, 0, sizeof *c);
        core_init(c, i);
        sched_core[i] = c;
    }
    uint32_t coming = present == 1 ? 1 : pf_smp_begin(core_entry);
    expected = coming < limit ? coming : limit;
}

void sched_use_cpus(uint32_t limit)
{
    if (limit && limit < expected) {
        expected = limit;
    }
    spin_lock(&join_lock);
    most = expected;
    count_up();
    spin_unlock(&join_lock);
}

uint32_t sched_cpu_expected(void)
{
    return __atomic_load_n(&expected, __ATOMIC_ACQUIRE);
}

void sched_wait_cpus(void)
{
    static uint32_t settled;
    uint32_t seen = sched_cpu_count();
    uint64_t deadline = pf_now_ns() + START_WITHIN_NS;
    while (seen < sched_cpu_expected() && pf_now_ns() < deadline) {
        strand_sleep_ns(LOOK_NS);
        if (sched_cpu_count() != seen) {
            seen = sched_cpu_count();
            deadline = pf_now_ns() + START_WITHIN_NS;
        }
    }
    if (seen < sched_cpu_expected() && !__atomic_exchange_n(&settled, 1, __ATOMIC_ACQ_REL)) {
        uint32_t online = pf_smp_settle(0), count = sched_cpu_count();
        if (count < online && count < most) { // one that is missing ends the row
            log_warn("sched", "CPU %u did not start: %u others idle", count, online - count);
        }
        __atomic_store_n(&expected, count, __ATOMIC_RELEASE);
    }
}

uint32_t sched_cpu_count(void)
{
    return __atomic_load_n(&sched_online, __ATOMIC_ACQUIRE);
}
