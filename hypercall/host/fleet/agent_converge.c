// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One look at one fleet: what is there, what is wanted, what is to be done. Nothing here waits for
// anything to become true: the next look finds it.
#include "hypercall/host/fleet/agent_parts.h"
#include "hypercall/host/fleet/proxy_process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void agent_look_free(struct agent_look *l)
{
    fleet_record_free(&l->record);
    carrier_guests_free(l->guests, l->guest_count);
    free(l->rows);
    free(l->seen);
    free(l->answers);
    free(l->members);
    free(l->shares);
    free(l->create);
}

int agent_commit(struct agent *a, struct fleet_record *r, char *error, size_t error_bytes)
{
    struct fleet_record now;
    int lock, rc = carrier_lock(a->uri, 1, &lock, error, error_bytes);
    if (rc) {
        return rc == -ETIMEDOUT ? -EAGAIN : rc;
    }
    rc = carrier_read(a->host.libvirt, r->spec.name, &now, error, error_bytes);
    if (!rc) {
        rc = now.generation == r->generation ? carrier_write(a->host.libvirt, r, error, error_bytes)
                                             : -EAGAIN;
        fleet_record_free(&now);
    }
    close(lock);
    return rc;
}

// ---- what is there -----------------------------------------------------------------------------

// Remembers since when what was so; tells of guests that ended by themselves.
// Without the endpoint's checks (`checked`) nobody knows which guests serve: none counts as down.
static void remember(struct agent_fleet *f, struct agent_member *m, const struct carrier_guest *g,
                     bool healthy, bool checked, uint64_t now)
{
    m->present = true;
    if (m->was_active && !g->active && !m->shutdown_ms && !m->drain_ms) {
        backoff_failed(&m->backoff, now);
        agent_log("%s: the guest %s ended by itself (%u)%s", f->name, m->name, m->backoff.failures,
                  m->backoff.flapping ? ": it flaps, and is tried once a minute" : "");
        agent_failed(f, g->facts.service, g->facts.version);
    }
    if (g->active && !healthy && checked) {
        m->down_ms = m->down_ms ? m->down_ms : now;
    } else {
        m->down_ms = 0;
    }
    if (healthy && !m->healthy) {
        agent_log("%s: %s serves", f->name, m->name);
        agent_note_start(m, now);
    }
    m->was_active = g->active;
    m->healthy = healthy;
    backoff_seen(&m->backoff, healthy, now);
}

static int see_guests(const struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    uint64_t now = agent_now_ms();
    l->seen = calloc(l->guest_count + 1, sizeof *l->seen);
    l->answers = calloc(l->guest_count + 1, sizeof *l->answers);
    l->members = calloc(l->guest_count + 1, sizeof *l->members);
    if (!l->seen || !l->answers || !l->members) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < f->member_count; i++) {
        f->members[i].present = false;
    }
    for (size_t i = 0; i < l->guest_count; i++) {
        if (!agent_member(f, l->guests[i].name)) { // they may move: addresses are taken below
            return -ENOMEM;
        }
    }
    for (size_t i = 0; i < l->guest_count; i++) {
        struct carrier_guest *g = &l->guests[i];
        struct agent_member *m = agent_member(f, g->name);
        const struct agent_job *job = agent_job_of(a, g->name);
        // One that is booted for its ready state is off to everybody else.
        g->active = g->active && !(job && job->kind == AGENT_REHEARSE);
        struct decide_member *d = &l->seen[i];
        struct proxy_row row = {0};
        bool known = proxy_member_row(l->rows, l->row_count, g->name, &row);
        bool healthy = known && g->active && row.health == PROXY_UP;
        remember(f, m, g, healthy, l->rows != NULL, now);
        snprintf(d->name, sizeof d->name, "%.48s", g->name);
        snprintf(d->version, sizeof d->version, "%.*s", FLEET_VERSION - 1, g->facts.version);
        d->running = g->active;
        d->healthy = healthy;
        if (!m->known && g->active && known && row.health == PROXY_DRAINING) {
            m->drain_ms = now; // begun by an agent before
        }
        m->known = true;
        d->leaving = m->shutdown_ms || m->drain_ms;
        d->may_start = !job && backoff_may_start(&m->backoff, now);
        d->down_ms = m->down_ms ? now - m->down_ms : 0;
        d->requests = row.sessions + row.queued;
        l->members[i] = m;
    }
    agent_forget_members(f);
    for (size_t i = 0; i < l->guest_count; i++) {
        l->members[i] = agent_member(f, l->guests[i].name);
    }
    return 0;
}

static int look(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    char error[600];
    int rc = carrier_read(a->host.libvirt, f->name, &l->record, error, sizeof error);
    if (rc == -ENOENT || rc == -EACCES) { // another user's by now: guests that are ours go
        l->orphaned = true;
    } else if (rc) {
        agent_problem(f, "%s", error);
        return rc;
    }
    rc = carrier_guests(a->host.libvirt, f->name, &l->guests, &l->guest_count, error, sizeof error);
    if (rc) {
        agent_problem(f, "%s", error);
        return rc;
    }
    if (!f->folder[0] &&
        proxy_folder(a->uri, f->name, f->folder, sizeof f->folder, error, sizeof error)) {
        f->folder[0] = 0;
        agent_problem(f, "%s", error);
        return -EIO;
    }
    // Where no HAProxy runs, no guest is known to be healthy.
    proxy_stats(f->folder, &l->rows, &l->row_count, error, sizeof error);
    rc = see_guests(a, f, l);
    size_t services = l->record.service_count;
    l->shares = calloc(services + 1, sizeof *l->shares);
    l->create = calloc(services + 1, sizeof *l->create);
    if (rc || !l->shares || !l->create) {
        agent_problem(f, "no memory");
        return -ENOMEM;
    }
    return 0;
}

// ---- what is wanted ----------------------------------------------------------------------------

static void see_service(const struct agent_look *l, const char *service,
                        const struct fleet_slot slots[2], unsigned stable, uint32_t replicas,
                        struct deploy_seen *out)
{
    *out = (struct deploy_seen){.replicas = replicas};
    for (size_t i = 0; i < l->guest_count; i++) {
        const struct decide_member *d = &l->seen[i];
        bool ready = d->running && d->healthy && !d->leaving;
        if (strcmp(l->guests[i].facts.service, service) != 0) {
            continue;
        }
        if (slots[stable].version[0] && strcmp(d->version, slots[stable].version) == 0) {
            out->from_alive++;
            out->from_ready += ready;
        } else if (slots[!stable].version[0] && strcmp(d->version, slots[!stable].version) == 0) {
            out->to_alive++;
            out->to_ready += ready;
        }
    }
}

static void decide_service(struct agent_look *l, size_t which)
{
    const struct fleet_service *s = &l->record.services[which];
    const struct fleet_model *model = fleet_find(&l->record.spec, s->name);
    struct fleet_slot slots[2];
    struct decide_wanted w = {.stable_slot = s->stable_slot & 1};
    struct deploy_seen seen;
    fleet_slots(&l->record, s->name, slots);
    w.replicas = l->record.down ? 0 : fleet_replicas(&l->record, s->name);
    w.start_ms = model ? model->health.start_ms : 60000;
    w.sleeps = !l->record.down && model && model->autoscale.enabled && model->autoscale.min == 0;
    see_service(l, s->name, slots, w.stable_slot, w.replicas, &seen);
    bool deploys = s->has_deployment && deploy_is_running(&s->deployment);
    if (deploys && !l->record.down) {
        deploy_targets(&s->deployment, &seen, &w.targets);
    } else {
        bool canary = model && model->has_canary && w.replicas > 0;
        w.targets = (struct deploy_targets){
            .stable = w.replicas, .other = canary ? model->canary_replicas : 0, .surge = 1};
    }
    for (unsigned n = 0; n < 2; n++) {
        if (slots[n].variant) {
            memcpy(w.version[n], slots[n].version, sizeof w.version[n]);
        }
    }
    struct proxy_share *share = &l->shares[which];
    snprintf(share->service, sizeof share->service, "%s", s->name);
    share->stable_slot = w.stable_slot;
    share->share = deploys ? deploy_share(&s->deployment, &seen) : slots[!w.stable_slot].share;
    // Guests of this service are not in a row in the list: a list of their own.
    struct decide_member *own = calloc(l->guest_count + 1, sizeof *own);
    struct decide_answer *answers = calloc(l->guest_count + 1, sizeof *answers);
    size_t n = 0;
    for (size_t i = 0; own && answers && i < l->guest_count; i++) {
        if (strcmp(l->guests[i].facts.service, s->name) == 0) {
            own[n++] = l->seen[i];
        }
    }
    if (own && answers) {
        decide(&w, own, n, answers, l->create[which]);
        n = 0;
        for (size_t i = 0; i < l->guest_count; i++) {
            if (strcmp(l->guests[i].facts.service, s->name) == 0) {
                l->answers[i] = answers[n++];
            }
        }
    }
    free(own);
    free(answers);
}

static void decide_all(struct agent_look *l)
{
    for (size_t i = 0; i < l->guest_count; i++) { // of services that are no more
        l->answers[i] = (struct decide_answer){.verdict = DECIDE_RETIRE};
    }
    for (size_t i = 0; i < l->record.service_count; i++) {
        decide_service(l, i);
    }
}

// ---- the end of a fleet ------------------------------------------------------------------------

static void end_fleet(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    char error[600];
    int lock;
    if (proxy_stop(f->folder, 1000, error, sizeof error) != 0 ||
        proxy_remove_folder(f->folder, error, sizeof error) != 0) {
        agent_problem(f, "%s", error);
        return;
    }
    if (l->orphaned) {
        return;
    }
    if (carrier_lock(a->uri, 1, &lock, error, sizeof error) != 0) {
        return; // the next look does it
    }
    struct fleet_record now;
    if (carrier_read(a->host.libvirt, f->name, &now, error, sizeof error) == 0) {
        // Somebody may have brought it up again meanwhile.
        if (now.down && carrier_remove(a->host.libvirt, f->name, error, sizeof error) != 0) {
            agent_problem(f, "%s", error);
        } else if (now.down) {
            agent_log("%s: the fleet is down", f->name);
        }
        fleet_record_free(&now);
    }
    close(lock);
}

void agent_converge(struct agent *a, struct agent_fleet *f)
{
    struct agent_look l = {0};
    f->problem_count = 0;
    f->again = f->stale = false;
    if (look(a, f, &l) == 0) {
        bool goes = l.record.down || l.orphaned;
        if (goes) {
            agent_jobs_hurry(a, f->name);
        } else {
            agent_course(a, f, &l);
        }
        if (!f->stale && goes && l.guest_count == 0) {
            if (!agent_has_jobs(a, f->name)) { // whose guests are worked at
                end_fleet(a, f, &l);
            }
        } else if (!f->stale) {
            decide_all(&l);
            if (!l.orphaned) {
                agent_route(a, f, &l);
            }
            agent_act(a, f, &l);
        }
    }
    agent_look_free(&l);
    agent_log_problems(f);
}
