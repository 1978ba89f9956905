// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a gang pays. Small jobs do not; none do while the host takes our cores away (then
// everyone waits for the one that does not run). Learns each kind's work from its runs, and how
// much the other cores gained or lost; after a loss it stays narrow for a while, each time longer,
// and tries again. Results never depend on the answer, since items do not depend on who runs them.
#ifndef LIBOS_SCHED_GANG_WIDTH_H
#define LIBOS_SCHED_GANG_WIDTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GANG_KINDS 64

struct gang_kind {
    uintptr_t fn;
    size_t count;
    uint64_t work_ns; // on one core; 0 = not known
};
struct gang_judge { // owner: whoever holds the gang
    struct gang_kind kind[GANG_KINDS];
    int64_t balance_ns;    // gained by running wide, lately; bounded both ways
    uint64_t narrow_until; // stay narrow until then
    uint64_t pause_ns;     // how long the next pause is
    unsigned settling;     // wide jobs left whose helpers may still be asleep
};

// Should a job of `count` items of `fn` run wide now?
bool gang_judge_wide(struct gang_judge *g, uintptr_t fn, size_t count, uint64_t now_ns);
// It ran alone and took this long.
void gang_judge_narrow_ran(struct gang_judge *g, uintptr_t fn, size_t count, uint64_t took_ns);
// It ran on `width` cores: the caller's share took own_ns, all of it took_ns.
void gang_judge_wide_ran(struct gang_judge *g, uintptr_t fn, size_t count, unsigned width,
                         uint64_t own_ns, uint64_t took_ns, uint64_t now_ns);

#endif
