// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What goes on by itself: deployments, and the number of guests by load. Each step is a change of
// the record; the look after it acts.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void commit(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    char error[600];
    int rc = agent_commit(a, &l->record, error, sizeof error);
    if (rc && rc != -EAGAIN) {
        agent_problem(f, "%s", error);
    }
    // After a failure, too, nothing is done by what was looked at: it is not what is wanted.
    f->again = rc == 0;
    f->stale = true;
}

static bool is_of(const struct agent_look *l, size_t guest, const char *service,
                  const char *version)
{
    return strcmp(l->guests[guest].facts.service, service) == 0 &&
           (!version || strcmp(l->guests[guest].facts.version, version) == 0);
}

// ---- deployments -------------------------------------------------------------------------------

static void count(const struct agent_look *l, const char *service, const char *version,
                  uint32_t *alive, uint32_t *ready, struct fleet_counters *c, double *ms)
{
    double weighed = 0, weight = 0;
    for (size_t i = 0; i < l->guest_count; i++) {
        struct proxy_row row;
        const struct decide_member *d = &l->seen[i];
        if (!is_of(l, i, service, version)) {
            continue;
        }
        ++*alive;
        *ready += d->running && d->healthy && !d->leaving;
        if (proxy_member_row(l->rows, l->row_count, d->name, &row)) {
            uint64_t errors = row.errors_5xx + row.errors_connection + row.errors_response;
            // What was tried again elsewhere reached no client; it is this version's failure.
            errors = errors > row.retries ? errors : row.retries;
            c->requests += row.requests;
            c->errors += errors < row.requests ? errors : row.requests;
            weighed += (double)row.latency_ms * (double)row.requests;
            weight += (double)row.requests;
        }
    }
    *ms = weight > 0 ? weighed / weight : 0;
}

static bool deploy(struct agent_fleet *f, struct agent_look *l, struct fleet_service *s,
                   struct agent_service *own)
{
    struct fleet_deployment *d = &s->deployment;
    struct fleet_model *model = fleet_find(&l->record.spec, s->name);
    struct deploy_seen seen = {.replicas = fleet_replicas(&l->record, s->name)};
    own->deploying[0] = 0;
    if (!s->has_deployment || !deploy_is_running(d) || !model) {
        return false;
    }
    memcpy(own->deploying, d->to, sizeof own->deploying);
    if (own->deployment_ms != d->started_ms) {
        own->deployment_ms = d->started_ms;
        own->failures = 0;
    }
    count(l, s->name, d->from, &seen.from_alive, &seen.from_ready, &seen.from, &seen.from_ms);
    count(l, s->name, d->to, &seen.to_alive, &seen.to_ready, &seen.to, &seen.to_ms);
    for (size_t i = 0; i < l->guest_count; i++) {
        uint64_t down_ms = is_of(l, i, s->name, d->to) ? l->seen[i].down_ms : 0;
        seen.to_waiting_ms = down_ms > seen.to_waiting_ms ? down_ms : seen.to_waiting_ms;
    }
    seen.to_failures = own->failures;
    enum fleet_phase before = d->phase;
    if (!deploy_step(d, &seen, agent_time_ms())) {
        return false;
    }
    if (d->phase == FLEET_DONE) {
        model->variant = d->variant;
        s->stable_slot = !(s->stable_slot & 1);
    }
    if (d->phase != before || d->phase == FLEET_SHIFTING) {
        agent_log("%s: deployment of %s to %s: %s%s%s", f->name, s->name, d->to,
                  fleet_phase_name(d->phase), d->reason[0] ? ": " : "", d->reason);
    }
    return true;
}

// ---- the number of guests ----------------------------------------------------------------------

static void measure(struct agent_look *l, struct agent_service *own, uint64_t now)
{
    uint32_t *ports = calloc(l->guest_count + 1, sizeof *ports);
    struct agent_member **who = calloc(l->guest_count + 1, sizeof(struct agent_member *));
    struct measure *found = calloc(l->guest_count + 1, sizeof *found);
    bool *ok = calloc(l->guest_count + 1, sizeof *ok);
    size_t n = 0;
    for (size_t i = 0; ports && who && i < l->guest_count; i++) {
        if (is_of(l, i, own->name, NULL) && l->seen[i].healthy) {
            ports[n] = l->guests[i].facts.port;
            who[n++] = l->members[i];
        }
    }
    if (ports && who && found && ok && n) {
        agent_scrape(ports, n, l->record.internal_key, found, ok);
    }
    bool turn = now - own->window_ms >= AGENT_WINDOW_MS;
    struct measure_window w = {0};
    own->load = 0;
    for (size_t i = 0; found && ok && i < n; i++) {
        struct agent_member *m = who[i];
        m->measured = ok[i];
        if (!ok[i]) {
            continue;
        }
        m->now = found[i];
        own->load += m->now.processing + m->now.waiting;
        if (!m->has_base || turn) {
            m->older = m->has_base ? m->base : m->now;
            m->base = m->now;
            m->has_base = m->has_older = true;
        }
        measure_add(&w, &m->older, &m->now);
    }
    own->window_ms = turn ? now : own->window_ms;
    own->p95_ms = measure_quantile_ms(&w, 0.95);
    own->measured_ms = now;
    free(ports);
    free(who);
    free(found);
    free(ok);
}

// The endpoint's view of a service: its requests so far, those that wait or run now.
static void see_endpoint(const struct agent_look *l, const char *service, uint64_t *requests,
                         double *load)
{
    *requests = 0;
    *load = 0;
    size_t n = strlen(service);
    for (size_t i = 0; i < l->row_count; i++) {
        const struct proxy_row *r = &l->rows[i];
        bool own = strncmp(r->backend, service, n) == 0 &&
                   (strcmp(r->backend + n, ".a") == 0 || strcmp(r->backend + n, ".b") == 0);
        if (own && r->type == PROXY_ROW_BACKEND) {
            *requests += r->requests;
            *load += (double)(r->sessions + r->queued);
        }
    }
}

static bool scale(struct agent_fleet *f, struct agent_look *l, struct fleet_service *s,
                  struct agent_service *own)
{
    const struct fleet_model *m = fleet_find(&l->record.spec, s->name);
    uint64_t now = agent_now_ms(), requests;
    double load;
    const char *why;
    if (!m || !m->autoscale.enabled) {
        return false;
    }
    if (now - own->measured_ms >= AGENT_MEASURE_MS) {
        measure(l, own, now);
    }
    see_endpoint(l, s->name, &requests, &load);
    struct autoscale_limits limits = {.min = m->autoscale.min,
                                      .max = m->autoscale.max,
                                      .p95_ms = m->autoscale.p95_ms,
                                      .queue = m->autoscale.queue,
                                      .cooldown_ms = m->autoscale.cooldown_ms,
                                      .idle_ms = m->autoscale.idle_ms};
    struct autoscale_seen seen = {.replicas = fleet_replicas(&l->record, s->name),
                                  .p95_ms = own->p95_ms,
                                  .load = own->load > load ? own->load : load,
                                  .requests = requests != own->requests,
                                  .wake = own->wake[0].count + own->wake[1].count > 0};
    own->requests = requests;
    for (size_t i = 0; i < l->guest_count; i++) {
        seen.ready += is_of(l, i, s->name, NULL) && l->seen[i].healthy && !l->seen[i].leaving;
    }
    uint32_t n = autoscale_decide(&limits, &seen, &own->scale, now, &why);
    if (n == seen.replicas) {
        return false;
    }
    agent_log("%s: %s goes from %u to %u guests: %s (load %.0f, p95 %.0f ms)", f->name, s->name,
              seen.replicas, n, why, seen.load, seen.p95_ms);
    s->has_replicas = true;
    s->replicas = n;
    s->scaled_ms = agent_time_ms();
    return true;
}

// ---- requests that wait ------------------------------------------------------------------------

static void release(struct agent_look *l, const struct fleet_service *s, struct agent_service *own)
{
    const struct fleet_model *m = fleet_find(&l->record.spec, s->name);
    // Nobody will come.
    bool hopeless = fleet_replicas(&l->record, s->name) == 0 &&
                    !(m && m->autoscale.enabled && m->autoscale.max > 0);
    bool there = false;
    for (size_t i = 0; i < l->guest_count; i++) {
        there = there || (is_of(l, i, s->name, NULL) && l->seen[i].healthy && !l->seen[i].leaving);
    }
    if (hopeless) {
        agent_wake_refuse(&own->wake[0]);
        agent_wake_refuse(&own->wake[1]);
    } else if (there) {
        agent_wake_release(&own->wake[0]);
        agent_wake_release(&own->wake[1]);
    }
}

void agent_course(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    bool changed = false;
    for (size_t i = 0; i < l->record.service_count; i++) {
        struct fleet_service *s = &l->record.services[i];
        struct agent_service *own = agent_service(f, s->name);
        if (!own) {
            continue;
        }
        release(l, s, own);
        changed = deploy(f, l, s, own) || changed;
        changed = scale(f, l, s, own) || changed;
    }
    if (changed) {
        commit(a, f, l);
    }
}
