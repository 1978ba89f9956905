// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a gang pays (gang_width.h).
#include "libos/sched/gang_width.h"

#define SMALL_NS      6000u   // below this, handing work over costs more than it saves
#define LOSS_NS       400000  // lost in all before we give up for a while
#define GAIN_NS       2000000 // gained in all before pauses get short again; bound of the balance
#define PAUSE_LEAST   10000000u
#define PAUSE_MOST    1280000000u
#define SETTLING_JOBS 4u
#define WAKE_NS       200000 // what waking sleeping helpers may cost without counting as a loss

static struct gang_kind *kind_of(struct gang_judge *g, uintptr_t fn, size_t count)
{
    uint64_t h = (fn ^ count * 0x9e3779b97f4a7c15ull) * 0x9e3779b97f4a7c15ull;
    struct gang_kind *k = &g->kind[h >> 58];
    if (k->fn != fn || k->count != count) {
        *k = (struct gang_kind){.fn = fn, .count = count};
    }
    return k;
}

static void learn(struct gang_kind *k, uint64_t work_ns)
{
    // Rises slowly, falls at once half way: an interrupted run says nothing about the work.
    if (k->work_ns == 0) {
        k->work_ns = work_ns;
    } else if (work_ns > k->work_ns) {
        uint64_t rise = (work_ns - k->work_ns) / 8;
        k->work_ns += rise < k->work_ns / 4 + 1 ? rise : k->work_ns / 4 + 1;
    } else {
        k->work_ns -= (k->work_ns - work_ns) / 2;
    }
}

bool gang_judge_wide(struct gang_judge *g, uintptr_t fn, size_t count, uint64_t now_ns)
{
    const struct gang_kind *k = kind_of(g, fn, count);
    if (k->work_ns != 0 && k->work_ns < SMALL_NS) {
        return false;
    }
    if (now_ns < g->narrow_until) {
        return false;
    }
    if (g->narrow_until) { // the pause is over: try again
        g->narrow_until = 0;
        g->balance_ns = 0;
        g->settling = SETTLING_JOBS;
    }
    return true;
}

void gang_judge_narrow_ran(struct gang_judge *g, uintptr_t fn, size_t count, uint64_t took_ns)
{
    learn(kind_of(g, fn, count), took_ns);
}

void gang_judge_wide_ran(struct gang_judge *g, uintptr_t fn, size_t count, unsigned width,
                         uint64_t own_ns, uint64_t took_ns, uint64_t now_ns)
{
    struct gang_kind *k = kind_of(g, fn, count);
    uint64_t alone = own_ns * width;
    if (k->work_ns == 0 || alone < k->work_ns) {
        learn(k, alone);
    }
    int64_t gain = (int64_t)k->work_ns - (int64_t)took_ns;
    if (g->settling) {
        g->settling--;
        gain = gain < -WAKE_NS ? gain + WAKE_NS : gain > 0 ? gain : 0;
    }
    g->balance_ns += gain;
    if (g->balance_ns > GAIN_NS) {
        g->balance_ns = GAIN_NS;
        g->pause_ns = 0;
    }
    if (g->balance_ns < -LOSS_NS) {
        g->pause_ns = g->pause_ns == 0 ? PAUSE_LEAST : g->pause_ns * 2;
        g->pause_ns = g->pause_ns > PAUSE_MOST ? PAUSE_MOST : g->pause_ns;
        g->narrow_until = now_ns + g->pause_ns;
    }
}
