// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Strands and cores from the inside. Who may touch what:
// - a core's ready queues: any core, under core->lock, interrupts off (interrupt handlers wake);
// - a core's timers: any core, under core->timer_lock, never from an interrupt handler;
// - everything else of a core, and of the strand it runs: that core alone.
// Order of locks: wake->lock before core->lock; timer_lock is never held while taking another.
// A strand is pinned: whatever another core does to it, it goes on only on its own core.
#ifndef LIBOS_SCHED_INTERNAL_H
#define LIBOS_SCHED_INTERNAL_H

#include "libos/sched.h"
#include "libos/spin.h"
#include "platform/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum strand_state { STRAND_RUNNING, STRAND_READY, STRAND_WAITING, STRAND_SLEEPING, STRAND_DEAD };

struct strand {
    uint64_t sp; // saved stack pointer, while it does not run (switch.asm: offset 0)
    uint64_t fs; // FS base: the thread pointer
    uint32_t id, cpu;
    uint8_t priority, state;
    bool granted;        // by wake_set; false after a time-out
    struct wake *wake;   // it waits for this; under wake->lock
    struct strand *next; // in a ready queue or a wake's ring of waiters
    struct sched_timer timeout;
    const char *doing;
    uint64_t ticks, switches; // TSC ticks run, times it was switched to
    uint64_t stack_low, stack_high;
    uint32_t *clear_tid;                // cleared and woken when the strand has ended
    uint64_t unmap_base, unmap_bytes;   // its own stack, to be unmapped when it has ended
    const struct strand_spawn *forming; // for the clone call inside strand_create
    struct strand *all_next, *all_prev;
    char name[16];
};

// What strand_create tells the clone that pthread_create makes.
struct strand_spawn {
    const char *name;
    uint8_t priority;
    uint32_t cpu;
    struct strand *made;
};

struct core {
    uint32_t lock; // protects ready_*
    uint32_t ready_mask;
    struct strand *ready_head[STRAND_PRIORITY_COUNT], *ready_tail[STRAND_PRIORITY_COUNT];
    uint32_t halting;   // set before the last look at ready_mask, read by wakers after they queue
    uint32_t timer_due; // set by the timer interrupt
    uint32_t index;
    struct strand *running;
    struct strand *dying, *moving; // what the next strand does for the one before it
    struct strand idle;
    uint64_t switch_tsc, look_tsc, longest_look, looks, idle_ticks;

    uint32_t timer_lock;                             // protects the next three
    struct sched_timer *timers;                      // heap
    struct sched_timer *expired_head, *expired_tail; // to be run by the timer strand
    uint64_t armed_ns;                               // what the timer interrupt is set to, 0 = not
    struct wake timer_wake;
    struct strand *timer_strand;
    uint32_t strand_count; // atomic
    uint64_t tls[64];      // thread block of the idle strand: its address, and the canary at 40
};

extern struct core *sched_core[PF_MAX_CPUS]; // NULL: not up
extern uint32_t sched_online;                // cores that take strands: 0 … online - 1
extern uint32_t sched_all_lock;              // the list of all strands
extern struct strand *sched_all;

static inline struct core *this_core(void)
{
    struct core *c;
    __asm__ volatile("mov %%gs:24, %0" : "=r"(c));
    return c;
}

// ---- ready.c: safe in interrupt handlers ------------------------------------------------------
// Puts a strand that does not run into its core's queue and wakes that core if it halts.
void sched_ready(struct strand *s);
void sched_push(struct core *c, struct strand *s, bool front); // under c->lock
struct strand *sched_pop(struct core *c);                      // under c->lock; NULL if none
void sched_timer_interrupt(void *arg);
// Takes s off the wake's ring; true if it was on it. Under w->lock.
bool wake_remove(struct wake *w, struct strand *s);

// ---- switch.asm -------------------------------------------------------------------------------
void strand_switch(struct strand *from, struct strand *to);
extern char strand_first[]; // where a new strand starts

// ---- core.c -----------------------------------------------------------------------------------
// Runs the best ready strand; returns when the caller runs again. Interrupts off; the caller has
// put itself where it will be found.
void sched_block(void);
void sched_set_fs(uint64_t base);
void sched_after_switch(void);
void sched_boot_core(void); // before libc starts: pf_main becomes strand 1

// ---- strand.c ---------------------------------------------------------------------------------
// A strand that starts by calling fn(*(void **)sp) on the stack below sp. 0, -ENOMEM, -EINVAL.
int sched_spawn(uint64_t sp, void *fn, uint64_t fs, uint32_t *clear_tid, struct strand **out);
_Noreturn void sched_exit(void);
void sched_move(uint32_t cpu); // the caller goes on there
void sched_enlist(struct strand *s);
void sched_bury(struct strand *s); // from sched_after_switch
bool sched_reap(void);             // frees strands that have ended

// ---- timer.c ----------------------------------------------------------------------------------
void sched_timers_run(struct core *c); // on that core, interrupts off
void sched_timers_program(struct core *c);
void timeout_arm(struct strand *s, uint64_t deadline_ns);
void timeout_cancel(struct strand *s);

// ---- others of the libos ----------------------------------------------------------------------
void futex_wake_address(uint32_t *address, uint32_t count);

#endif
