// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Up at once by what is too much, down by one after a cool-down below half of the target: one guest
// less then cannot exceed the target again by the same load (n / (n - 1) is at most 2). Queues are
// not so linear near saturation: where growth follows soon on a guest's going, the cool-down
// doubles.
#include "hypercall/host/fleet/autoscale.h"

enum {
    SETTLE_MS = 10000, // after growth: what was measured before says nothing of now
    MOST_REGRETS = 5,
    FORGET_COOLDOWNS = 64
};

static uint64_t cooldown(const struct autoscale_limits *l, struct autoscale_state *t, uint64_t now)
{
    if (t->regrets && now - t->regret_ms > FORGET_COOLDOWNS * l->cooldown_ms) {
        t->regrets = 0;
    }
    return l->cooldown_ms << t->regrets;
}

static void grow(const struct autoscale_limits *l, struct autoscale_state *t, uint64_t now)
{
    if (t->down_ms && now - t->down_ms < 2 * cooldown(l, t, now)) {
        t->regrets += t->regrets < MOST_REGRETS;
        t->regret_ms = now;
        t->down_ms = 0;
    }
    t->up_ms = now;
}

static uint32_t clamp(uint32_t n, const struct autoscale_limits *l)
{
    return n < l->min ? l->min : n > l->max ? l->max : n;
}

static uint32_t up_to(const struct autoscale_limits *l, const struct autoscale_seen *s)
{
    uint32_t wanted = s->replicas, most = s->replicas * 2;
    if (l->queue > 0 && s->load > l->queue * s->replicas) {
        double guests = s->load / l->queue;
        wanted = guests >= most ? most : (uint32_t)guests + (guests > (uint32_t)guests);
    }
    if (l->p95_ms > 0 && s->p95_ms > l->p95_ms && wanted <= s->replicas) {
        wanted = s->replicas + 1;
    }
    return wanted;
}

static bool is_low(const struct autoscale_limits *l, const struct autoscale_seen *s)
{
    bool queue = l->queue <= 0 || s->load < l->queue * s->replicas / 2;
    return queue && (l->p95_ms <= 0 || s->p95_ms < l->p95_ms / 2);
}

uint32_t autoscale_decide(const struct autoscale_limits *l, const struct autoscale_seen *s,
                          struct autoscale_state *t, uint64_t now, const char **why)
{
    const char *unused;
    why = why ? why : &unused;
    *why = "its bounds";
    if (s->requests || s->wake || s->load > 0 || !t->request_ms) {
        t->request_ms = now;
    }
    uint32_t bounded = clamp(s->replicas, l);
    if (bounded != s->replicas) {
        t->low_ms = 0;
        return bounded;
    }
    if (s->replicas == 0) {
        *why = "a request waits";
        t->up_ms = s->wake ? now : t->up_ms;
        t->low_ms = 0;
        return s->wake && l->max > 0 ? 1 : 0;
    }
    // Those that were asked for last must be there before more are.
    bool settled = s->ready >= s->replicas && (!t->up_ms || now - t->up_ms >= SETTLE_MS);
    uint32_t up = clamp(up_to(l, s), l);
    if (up > s->replicas) {
        t->low_ms = 0;
        if (settled) {
            grow(l, t, now);
            *why = "more load than its target";
            return up;
        }
        return s->replicas;
    }
    if (!is_low(l, s)) {
        t->low_ms = 0;
        return s->replicas;
    }
    if (l->min == 0 && l->idle_ms && now - t->request_ms >= l->idle_ms) {
        *why = "no requests";
        t->low_ms = 0;
        return 0;
    }
    t->low_ms = t->low_ms ? t->low_ms : now;
    uint32_t least = l->min ? l->min : 1; // to zero only by idleness
    if (s->replicas > least && now - t->low_ms >= cooldown(l, t, now)) {
        t->low_ms = t->down_ms = now;
        *why = "less than half of its target";
        return s->replicas - 1;
    }
    return s->replicas;
}
