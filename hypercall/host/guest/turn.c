// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests that commands start take turns: twice as many start at a time as this machine has CPUs. A
// boot computes, and more of them at once only take the CPUs from each other. A turn is a claim
// (lock.c), so that the end of a run, however it comes, gives it to the next.
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

// Turns only save time: who waited for long goes on without one, and nobody keeps one for long.
enum { WAIT_MS = 20000, KEEP_MS = 5000, LOOK_MS = 25 };

static uint32_t turns(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? 2 * (uint32_t)CPU_COUNT(&set) : 2;
}

static bool take_any(int claims)
{
    uint32_t count = turns();
    for (uint32_t i = 0; i < count; i++) {
        if (guest_claim_turn(claims, i)) {
            return true;
        }
    }
    return false;
}

int guest_take_turn(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    char unused[300];
    uint64_t begun = guest_now_ms(), now = begun;
    int claims = h->takes_turns && !h->is_remote ? guest_claims_open(unused, sizeof unused) : -1;
    if (claims < 0) {
        return 0;
    }
    while (!take_any(claims) && now - begun < WAIT_MS) {
        if (h->stop && *h->stop) {
            close(claims);
            return guest_refuse(error, error_bytes, -EINTR, "interrupted; nothing was started");
        }
        if (now == begun) {
            guest_say(h, "Waiting: as many other guests start as this machine can boot at a time");
        }
        guest_sleep_ms(LOOK_MS);
        now = guest_now_ms();
    }
    g->turn = (struct guest_turn){.taken = true, .claims = claims, .until_ms = now + KEEP_MS};
    g->waited_ms = now - begun;
    return 0;
}

void guest_give_turn(struct guest *g)
{
    if (g->turn.taken) {
        close(g->turn.claims);
        g->turn.taken = false;
    }
}

void guest_keep_turn(struct guest *g)
{
    if (g->turn.taken && guest_now_ms() > g->turn.until_ms) {
        guest_give_turn(g);
    }
}
