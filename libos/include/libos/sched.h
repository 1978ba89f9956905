// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Strands: cooperative threads pinned to a core. A core runs its strands by priority, round robin
// within one; interrupts only mark work. Long tensor work is cut into tiles; between tiles the
// worker calls sched_relax(), which runs whatever more urgent is ready on this core (DESIGN
// decision 8). A strand is a musl thread (pthread_create makes a strand), so TLS and errno work in
// it. All here is for strands, any core; interrupt handlers may call what says irq-safe. Times are
// nanoseconds, deadlines on the pf_now_ns scale.
#ifndef LIBOS_SCHED_H
#define LIBOS_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum strand_priority { // high to low
    STRAND_REALTIME,
    STRAND_CRITICAL,
    STRAND_HIGH,
    STRAND_NORMAL,
    STRAND_LOW,
    STRAND_IDLE,
    STRAND_PRIORITY_COUNT
};
#define STRAND_ANY_CPU UINT32_MAX

struct strand;

// Creates a strand with its own guarded stack (stack_bytes 0: 64 KB). name is copied (15 bytes). It
// ends when run returns; *out (out may be NULL) must not be used after that. 0, -ENOMEM, -EINVAL.
int strand_create(const char *name, void (*run)(void *arg), void *arg,
                  enum strand_priority priority, uint32_t cpu, size_t stack_bytes,
                  struct strand **out);
struct strand *strand_self(void);
void strand_set_name(const char *name);
void strand_set_priority(enum strand_priority priority);
// What the strand is doing, for `ps`; the string must stay valid (a literal).
void strand_doing(const char *what);
// Gives the core to any other ready strand of the same or higher priority.
void strand_yield(void);
void strand_sleep_ns(uint64_t ns);
// Between tiles: if a strand of higher priority than the caller is ready on this core, runs it.
// Cheap when not.
void sched_relax(void);

// A wake-up flag: set from anywhere (irq-safe), waited for by any number of strands.
// Level semantics: a set before the wait is not lost; wake_wait consumes it. One set lets one
// waiter go, the one that has waited longest. The memory must outlive wake_set's return.
struct wake {
    uint32_t set;  // atomic
    uint32_t lock; // spin, irq-safe
    void *waiters; // under lock
};
#define WAKE_INIT                                                                                  \
    {                                                                                              \
        0, 0, 0                                                                                    \
    }
void wake_set(struct wake *w); // irq-safe
// Waits until set or until `deadline_ns` (pf_now_ns scale, 0 = none). True if set, false on
// time-out.
bool wake_wait(struct wake *w, uint64_t deadline_ns);

// Timers: callback runs in the timer strand of the core that armed it (may take locks, not block
// long). `priv` starts zeroed. Arming an armed timer moves it. After sched_timer_cancel the
// callback does not start any more, unless it is being started on another core at that moment.
struct sched_timer {
    uint64_t deadline_ns;
    void (*fire)(void *arg);
    void *arg;
    void *priv[4];
};
void sched_timer_arm(struct sched_timer *t, uint64_t deadline_ns);
void sched_timer_cancel(struct sched_timer *t);

struct strand_info {
    uint32_t id, cpu;
    enum strand_priority priority;
    char name[16];
    const char *state; // "running", "ready", "waiting", "sleeping"
    const char *doing;
    uint64_t cpu_ns, switches, stack_bytes, stack_used;
};
// Snapshot for ps; returns the number of strands (may exceed max).
size_t sched_snapshot(struct strand_info *out, size_t max);
// Longest time a core went between two looks for urgent work, and how often it looked.
void sched_relax_stats(uint64_t *longest_ns, uint64_t *looks);

// The clock of all deadlines, CLOCK_MONOTONIC's: nanoseconds since the machine's start. Cheaper
// than the system call.
uint64_t sched_now_ns(void);
// How often this machine has gone on from a saved state, as far as it has noticed; irq-safe.
uint32_t sched_generation(void);

// CPU time of the calling strand so far.
uint64_t sched_strand_ns(void);
// CPU time of all strands that exist.
uint64_t sched_busy_ns(void);

// Called by pf_main: the boot CPU's scheduler; the start of the other CPUs, which come up while the
// caller goes on; and, when the manifest has been read, how many are to take strands (at most
// `limit` in all, 0 = every one): each joins when it is ready.
void sched_init(void);
void sched_start_cpus(void);
void sched_use_cpus(uint32_t limit);
uint32_t sched_cpu_count(void);    // CPUs that run strands now: 0 … count - 1
uint32_t sched_cpu_expected(void); // how many that will be when all have come up
// Waits until they have, or have been given up and logged. app_main is called after that.
void sched_wait_cpus(void);
// Gang: runs fn(ctx, i, worker) for i in [0, count) on up to `width` cores (the caller's among
// them), returns when all are done. Used by the tensor runtime's pool (tensor/pool.h). Spins
// briefly, then sleeps. Work is split statically by core index, so results never depend on timing.
// While another gang is under way, or on a single CPU, the caller does all of it itself.
void sched_gang(void (*fn)(void *ctx, size_t i, unsigned worker), void *ctx, size_t count,
                unsigned width);

#endif
