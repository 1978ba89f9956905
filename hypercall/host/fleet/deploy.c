// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rolling, canary, blue/green as one machine: they differ in how many new guests come at which
// step.
#include "hypercall/host/fleet/deploy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool deploy_is_running(const struct fleet_deployment *d)
{
    return d->phase != FLEET_DONE && d->phase != FLEET_ROLLED_BACK;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t without(uint32_t a, uint32_t b)
{
    return a > b ? a - b : 0;
}

// Guests that a canary needs for so many per cent of the requests.
static uint32_t part(uint32_t replicas, uint32_t per_cent)
{
    uint32_t n = (replicas * per_cent + 99) / 100;
    return replicas == 0 ? 0 : n ? n : 1;
}

static uint32_t canary_guests(const struct fleet_deployment *d, uint32_t replicas)
{
    return part(replicas, d->step_count ? d->steps[d->step] : 100);
}

void deploy_targets(const struct fleet_deployment *d, const struct deploy_seen *s,
                    struct deploy_targets *out)
{
    uint32_t n = s->replicas;
    *out = (struct deploy_targets){.stable = n, .surge = n};
    switch (d->phase) {
    case FLEET_STARTING:
        out->other = d->strategy == FLEET_ROLLING  ? least(n, 1)
                     : d->strategy == FLEET_CANARY ? canary_guests(d, n)
                                                   : n;
        break;
    case FLEET_SHIFTING:
        if (d->strategy == FLEET_ROLLING) {
            out->other = least(n, s->to_ready + 1);
            out->stable = without(n, s->to_ready);
            out->surge = 1;
        } else {
            out->other = d->strategy == FLEET_CANARY ? canary_guests(d, n) : n;
        }
        break;
    case FLEET_PROMOTING:
        out->other = n;
        out->stable = without(n, s->to_ready);
        break;
    case FLEET_ROLLING_BACK: // they go as the old ones come back
        out->other = least(s->to_alive, without(n, s->from_ready));
        break;
    case FLEET_DONE:
    case FLEET_ROLLED_BACK:
        break;
    }
}

uint32_t deploy_share(const struct fleet_deployment *d, const struct deploy_seen *s)
{
    switch (d->phase) {
    case FLEET_SHIFTING:
        if (d->strategy == FLEET_ROLLING) {
            uint32_t all = s->to_ready + s->from_ready;
            return all ? s->to_ready * 10000 / all : 0;
        }
        return d->weight * 100;
    case FLEET_PROMOTING:
        return 10000;
    default:
        return 0;
    }
}

// ---- verdicts ----------------------------------------------------------------------------------

// A new HAProxy counts from nothing.
static struct fleet_counters since(const struct fleet_counters *now,
                                   const struct fleet_counters *base)
{
    if (now->requests < base->requests || now->errors < base->errors) {
        return *now;
    }
    return (struct fleet_counters){.requests = now->requests - base->requests,
                                   .errors = now->errors - base->errors};
}

static double rate(const struct fleet_counters *c)
{
    return c->requests ? (double)c->errors / (double)c->requests : 0;
}

__attribute__((format(printf, 2, 3))) static bool say(struct fleet_deployment *d,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(d->reason, sizeof d->reason, format, args);
    va_end(args);
    return true;
}

static bool is_bad(struct fleet_deployment *d, const struct deploy_seen *s)
{
    const struct fleet_limits *l = &d->limits;
    struct fleet_counters to = since(&s->to, &d->base_to), from = since(&s->from, &d->base_from);
    if (s->to_failures >= DEPLOY_FAILURES) {
        return say(d, "its guests ended by themselves or did not start %u times", s->to_failures);
    }
    if (to.requests < l->requests || to.requests == 0) {
        return false;
    }
    if (from.requests < l->requests) { // it gets none any more: what it was like before
        from = s->from;
    }
    // What the old version fails as well, the new one is not to blame for.
    if (rate(&to) > l->error_rate + rate(&from)) {
        return say(
            d, "%llu of %llu requests failed (%.1f %%; at most %.1f %%; the old version %.1f %%)",
            (unsigned long long)to.errors, (unsigned long long)to.requests, rate(&to) * 100,
            l->error_rate * 100, rate(&from) * 100);
    }
    double reference = s->from_ms > DEPLOY_LEAST_MS ? s->from_ms : DEPLOY_LEAST_MS;
    if (l->latency_ratio > 0 && from.requests >= l->requests && s->from_ms > 0 &&
        s->to_ms > l->latency_ratio * reference) {
        return say(
            d,
            "requests take %.0f ms on average, %.1f times those of the old version (at most %.1f)",
            s->to_ms, s->to_ms / reference, l->latency_ratio);
    }
    return false;
}

// By the guests' own time: a host that is busy makes them late, and that is no fault of theirs.
static bool is_late(struct fleet_deployment *d, const struct deploy_seen *s, uint32_t wanted,
                    int64_t now_ms)
{
    int64_t patience = (int64_t)d->limits.ready_ms * DEPLOY_PATIENCE;
    if (s->to_ready >= wanted ||
        (s->to_waiting_ms <= d->limits.ready_ms && now_ms - d->since_ms <= patience)) {
        return false;
    }
    return say(d, "%u of %u guests were ready within %u seconds", s->to_ready, wanted,
               d->limits.ready_ms / 1000);
}

// ---- transitions -------------------------------------------------------------------------------

static bool enter(struct fleet_deployment *d, enum fleet_phase phase, const struct deploy_seen *s,
                  int64_t now_ms)
{
    d->phase = phase;
    d->since_ms = now_ms;
    if (s) {
        d->base_from = s->from;
        d->base_to = s->to;
    }
    return true;
}

static bool roll_back(struct fleet_deployment *d, const struct deploy_seen *s, int64_t now_ms)
{
    d->weight = 0;
    return enter(d, FLEET_ROLLING_BACK, s, now_ms);
}

static bool starting(struct fleet_deployment *d, const struct deploy_seen *s, int64_t now_ms)
{
    struct deploy_targets t;
    deploy_targets(d, s, &t);
    if (s->to_failures >= DEPLOY_FAILURES ? is_bad(d, s) : is_late(d, s, t.other, now_ms)) {
        return roll_back(d, s, now_ms);
    }
    if (s->to_ready < t.other) {
        return false;
    }
    if (s->replicas == 0) { // nothing serves: nothing can be compared
        d->weight = 100;
        return enter(d, FLEET_PROMOTING, s, now_ms);
    }
    d->weight = d->strategy == FLEET_CANARY && d->step_count ? d->steps[0]
                : d->strategy == FLEET_BLUE_GREEN            ? 100
                                                             : 0;
    d->step = d->strategy == FLEET_ROLLING ? s->to_ready : 0;
    return enter(d, FLEET_SHIFTING, s, now_ms);
}

static bool shifting_rolling(struct fleet_deployment *d, const struct deploy_seen *s,
                             int64_t now_ms)
{
    if (is_bad(d, s) || is_late(d, s, s->replicas, now_ms)) {
        return roll_back(d, s, now_ms);
    }
    if (s->to_ready >= s->replicas && !d->hold) {
        d->weight = 100;
        return enter(d, FLEET_PROMOTING, s, now_ms);
    }
    if (s->to_ready > d->step) { // the next guest has as long again
        d->step = s->to_ready;
        d->since_ms = now_ms;
        return true;
    }
    return false;
}

static bool shifting_by_weight(struct fleet_deployment *d, const struct deploy_seen *s,
                               int64_t now_ms)
{
    bool canary = d->strategy == FLEET_CANARY && d->step_count > 0;
    uint32_t wanted = canary ? canary_guests(d, s->replicas) : s->replicas;
    if (is_bad(d, s)) {
        return roll_back(d, s, now_ms);
    }
    // The step has begun, its guests come up; until they are there the last weight holds.
    if (canary && d->weight != d->steps[d->step]) {
        if (is_late(d, s, wanted, now_ms)) {
            return roll_back(d, s, now_ms);
        }
        if (s->to_ready < wanted) {
            return false;
        }
        d->weight = d->steps[d->step];
        return enter(d, FLEET_SHIFTING, s, now_ms);
    }
    struct fleet_counters to = since(&s->to, &d->base_to);
    if (d->hold || now_ms - d->since_ms < d->limits.step_ms || to.requests < d->limits.requests) {
        return false;
    }
    if (canary && d->step + 1 < d->step_count) {
        d->step++;
        return enter(d, FLEET_SHIFTING, s, now_ms);
    }
    d->weight = 100;
    return enter(d, FLEET_PROMOTING, s, now_ms);
}

static bool promoting(struct fleet_deployment *d, const struct deploy_seen *s, int64_t now_ms)
{
    if (s->to_ready < s->replicas && (is_bad(d, s) || is_late(d, s, s->replicas, now_ms))) {
        return roll_back(d, s, now_ms);
    }
    if (s->to_ready >= s->replicas && s->from_alive == 0) {
        d->reason[0] = 0;
        return enter(d, FLEET_DONE, s, now_ms);
    }
    return false;
}

bool deploy_step(struct fleet_deployment *d, const struct deploy_seen *s, int64_t now_ms)
{
    switch (d->phase) {
    case FLEET_STARTING:
        return starting(d, s, now_ms);
    case FLEET_SHIFTING:
        return d->strategy == FLEET_ROLLING ? shifting_rolling(d, s, now_ms)
                                            : shifting_by_weight(d, s, now_ms);
    case FLEET_PROMOTING:
        return promoting(d, s, now_ms);
    case FLEET_ROLLING_BACK:
        return s->to_alive == 0 && s->from_ready >= s->replicas &&
               enter(d, FLEET_ROLLED_BACK, s, now_ms);
    default:
        return false;
    }
}

// ---- commands ----------------------------------------------------------------------------------

int deploy_promote(struct fleet_deployment *d, int64_t now_ms)
{
    if (!deploy_is_running(d) || d->phase == FLEET_ROLLING_BACK) {
        return -EALREADY;
    }
    d->hold = false;
    d->weight = 100;
    enter(d, FLEET_PROMOTING, NULL, now_ms);
    return 0;
}

int deploy_roll_back(struct fleet_deployment *d, const char *reason, int64_t now_ms)
{
    if (!deploy_is_running(d)) {
        return -EALREADY;
    }
    if (d->phase != FLEET_ROLLING_BACK) {
        snprintf(d->reason, sizeof d->reason, "%s", reason);
        roll_back(d, NULL, now_ms);
    }
    return 0;
}

int deploy_parse_steps(const char *text, struct fleet_deployment *d)
{
    uint32_t last = 0;
    d->step_count = 0;
    for (const char *at = text; *at;) {
        char *end;
        unsigned long value = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
        if (value <= last || value > 100 || d->step_count == FLEET_MOST_STEPS - 1) {
            return -EINVAL;
        }
        last = (uint32_t)value;
        d->steps[d->step_count++] = last;
        at = *end == ',' ? end + 1 : end;
        if (*end && (*end != ',' || !end[1])) {
            return -EINVAL;
        }
    }
    if (last != 100) {
        d->steps[d->step_count++] = 100;
    }
    return 0;
}
