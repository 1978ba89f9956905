// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What was decided, done: guests made, started, drained, shut down, forgotten; the endpoint told.
#include "hypercall/host/fleet/agent_parts.h"
#include "hypercall/host/fleet/proxy_process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// ---- the endpoint ------------------------------------------------------------------------------

static void listen_for_wakes(struct agent *a, struct agent_fleet *f, const struct agent_look *l)
{
    for (size_t i = 0; i < l->record.service_count; i++) {
        struct agent_service *s = agent_service(f, l->record.services[i].name);
        for (unsigned slot = 0; s && slot < 2; slot++) {
            int rc = agent_wake_listen(a, &s->wake[slot], f->folder, s->name, slot);
            if (rc) {
                agent_problem(f, "no socket for requests that wait (%s): %s", s->wake[slot].path,
                              strerror(-rc));
            }
        }
    }
}

static size_t list_members(const struct agent_look *l, struct proxy_member *out)
{
    size_t n = 0;
    for (size_t i = 0; i < l->guest_count; i++) {
        const struct carrier_guest *g = &l->guests[i];
        bool off = !g->active,
             goes = l->answers[i].verdict == DECIDE_RETIRE || l->answers[i].verdict == DECIDE_SLEEP;
        if ((goes && off) || !fleet_service(&l->record, g->facts.service)) {
            continue;
        }
        struct proxy_member *m = &out[n++];
        snprintf(m->name, sizeof m->name, "%.48s", g->name);
        snprintf(m->service, sizeof m->service, "%.20s", g->facts.service);
        snprintf(m->version, sizeof m->version, "%.12s", g->facts.version);
        m->port = g->facts.port;
        m->slot = l->answers[i].slot;
        m->state = l->answers[i].verdict == DECIDE_KEEP ? PROXY_READY : PROXY_DRAIN;
        m->known_up = l->members[i]->healthy;
    }
    return n;
}

void agent_route(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    char error[700];
    size_t refused = 0;
    enum proxy_done done = PROXY_UNCHANGED;
    struct proxy_files files = {0};
    struct proxy_member *members = calloc(l->guest_count + 1, sizeof *members);
    if (!members) {
        return;
    }
    listen_for_wakes(a, f, l);
    struct proxy_input in = {.record = &l->record,
                             .folder = f->folder,
                             .members = members,
                             .member_count = list_members(l, members),
                             .shares = l->shares,
                             .share_count = l->record.service_count};
    int rc = proxy_files(&in, &files, error, sizeof error);
    rc = rc ? rc : proxy_apply(&files, f->folder, &done, error, sizeof error);
    proxy_files_free(&files);
    if (rc) {
        agent_problem(f, "the endpoint: %s", error);
    }
    if (done != PROXY_UNCHANGED) {
        agent_log("%s: HAProxy was %s", f->name, done == PROXY_STARTED ? "started" : "reloaded");
        free(l->rows);
        l->rows = NULL;
        l->row_count = 0;
        rc = proxy_stats(f->folder, &l->rows, &l->row_count, error, sizeof error);
    }
    struct text commands = {0};
    if (proxy_master(f->folder) > 0 && l->rows &&
        proxy_sync(&in, l->rows, l->row_count, &commands) == 0 && commands.data && commands.bytes &&
        (proxy_run_commands(f->folder, commands.data, &refused, error, sizeof error) != 0 ||
         refused)) {
        agent_problem(f, "the endpoint: %s", error);
    }
    free(commands.data);
    free(members);
}

// ---- jobs --------------------------------------------------------------------------------------

// A job with a guest that is there. False: no room for it now.
static bool begin(struct agent *a, const struct agent_fleet *f, const struct agent_look *l,
                  size_t which, enum agent_job_kind kind)
{
    const struct carrier_guest *g = &l->guests[which];
    const struct fleet_model *model = fleet_find(&l->record.spec, g->facts.service);
    struct agent_job j = {.kind = kind,
                          .failures = l->members[which]->backoff.failures,
                          .start_s = model ? model->health.start_ms / 1000 : 0};
    snprintf(j.fleet, sizeof j.fleet, "%s", f->name);
    snprintf(j.service, sizeof j.service, "%.*s", FLEET_SERVICE - 1, g->facts.service);
    snprintf(j.version, sizeof j.version, "%.*s", FLEET_VERSION - 1, g->facts.version);
    snprintf(j.name, sizeof j.name, "%.48s", g->name);
    return agent_job_begin(a, &j, kind == AGENT_REHEARSE);
}

// ---- guests that go ----------------------------------------------------------------------------

static bool may_shut_down(const struct agent_fleet *f, const struct agent_look *l, size_t which,
                          uint64_t now)
{
    const struct agent_member *m = l->members[which];
    struct proxy_row row;
    unsigned workers = proxy_workers(f->folder);
    // Only when the endpoint has been seen to send it nothing more. After a reload an old worker
    // ends what was begun, and the statistics are the new one's.
    bool known = proxy_member_row(l->rows, l->row_count, m->name, &row);
    bool drained = workers == 0 ||
                   (workers == 1 && l->rows &&
                    (!known || (row.health != PROXY_UP && row.sessions == 0 && row.queued == 0)));
    return (drained && now - m->drain_ms >= 2 * AGENT_HURRY_MS) ||
           now - m->drain_ms > l->record.spec.endpoint.drain_ms;
}

static void retire(struct agent *a, struct agent_fleet *f, struct agent_look *l, size_t which)
{
    char error[600];
    struct agent_member *m = l->members[which];
    const struct carrier_guest *g = &l->guests[which];
    uint64_t now = agent_now_ms();
    if (!g->active) {
        int rc = guest_remove(&a->host, g->name, error, sizeof error);
        if (rc && rc != -ENOENT) {
            agent_problem(f, "%s", error);
        } else {
            agent_log("%s: %s is gone", f->name, g->name);
        }
        return;
    }
    if (!m->drain_ms) {
        m->drain_ms = now;
        agent_log("%s: %s is drained", f->name, g->name);
        return;
    }
    if (!m->shutdown_ms && may_shut_down(f, l, which, now)) {
        m->shutdown_ms = now;
        if (virDomainShutdown(g->domain) != 0) {
            m->shutdown_ms = now - AGENT_SHUTDOWN_MS - 1;
        }
    }
    if (m->shutdown_ms && now - m->shutdown_ms > AGENT_SHUTDOWN_MS &&
        begin(a, f, l, which, AGENT_DESTROY)) {
        agent_log("%s: %s does not power off: its plug is pulled", f->name, g->name);
        m->shutdown_ms = now;
    }
}

// ---- guests that come --------------------------------------------------------------------------

static void random_name(const char *fleet, const char *service, char out[49])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char r[4] = {0};
    if (getrandom(r, sizeof r, 0) != sizeof r) {
        r[0] = (unsigned char)agent_now_ms();
    }
    snprintf(out, 49, "%.20s-%.20s-%c%c%c%c", fleet, service, letters[r[0] % 36],
             letters[r[1] % 36], letters[r[2] % 36], letters[r[3] % 36]);
}

// Those that are being made and are not in libvirt's list yet.
static uint32_t count_coming(const struct agent *a, const struct agent_look *l, const char *service,
                             const char *version)
{
    uint32_t n = 0;
    for (size_t i = 0; i < a->job_count; i++) {
        const struct agent_job *j = a->jobs[i];
        bool counts = j->kind == AGENT_MAKE && strcmp(j->fleet, l->record.spec.name) == 0 &&
                      strcmp(j->service, service) == 0 && strcmp(j->version, version) == 0;
        for (size_t g = 0; counts && g < l->guest_count; g++) {
            counts = strcmp(l->guests[g].name, j->name) != 0;
        }
        n += counts;
    }
    return n;
}

struct agent_making *agent_making(struct agent_service *s, unsigned slot, const char *version)
{
    struct agent_making *m = &s->making[slot];
    if (strcmp(m->version, version) != 0) {
        memset(m, 0, sizeof *m);
        snprintf(m->version, sizeof m->version, "%s", version);
    }
    return m;
}

static void make_some(struct agent *a, struct agent_look *l, struct agent_service *s, unsigned slot,
                      const char *version, uint32_t count)
{
    struct agent_job j = {.kind = AGENT_MAKE, .slot = slot};
    snprintf(j.fleet, sizeof j.fleet, "%s", l->record.spec.name);
    snprintf(j.service, sizeof j.service, "%s", s->name);
    snprintf(j.version, sizeof j.version, "%s", version);
    j.record = fleet_record_print(&l->record);
    bool slow = !agent_making(s, slot, version)->made;
    for (uint32_t k = 0; j.record && k < count; k++) {
        random_name(j.fleet, j.service, j.name);
        if (!agent_job_begin(a, &j, slow)) {
            break; // as one ends, the next look goes on
        }
    }
    free(j.record);
}

// What makes a guest of a version that goes ends early: a roll-back waits for it.
static void hurry_unwanted(struct agent *a, const char *fleet, const struct fleet_service *s,
                           const struct fleet_slot slots[2])
{
    bool back = s->has_deployment && s->deployment.phase == FLEET_ROLLING_BACK;
    for (size_t i = 0; i < a->job_count; i++) {
        struct agent_job *j = a->jobs[i];
        bool wanted = false;
        for (unsigned n = 0; n < 2; n++) {
            wanted = wanted || (slots[n].variant && strcmp(slots[n].version, j->version) == 0);
        }
        wanted = wanted && !(back && strcmp(j->version, s->deployment.to) == 0);
        if (!wanted && j->kind == AGENT_MAKE && strcmp(j->fleet, fleet) == 0 &&
            strcmp(j->service, s->name) == 0) {
            j->hurry = 1;
        }
    }
}

static void make_missing(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    for (size_t i = 0; i < l->record.service_count; i++) {
        const struct fleet_service *service = &l->record.services[i];
        struct agent_service *s = agent_service(f, service->name);
        struct fleet_slot slots[2];
        fleet_slots(&l->record, service->name, slots);
        hurry_unwanted(a, f->name, service, slots);
        for (unsigned n = 0; s && n < 2; n++) {
            unsigned slot = (service->stable_slot + n) & 1;
            if (!slots[slot].variant) {
                continue;
            }
            const struct agent_making *m = agent_making(s, slot, slots[slot].version);
            if (m->why[0]) {
                agent_problem(f, "%s: %s", s->name, m->why);
            }
            if (!backoff_may_start(&m->backoff, agent_now_ms())) {
                continue;
            }
            uint32_t coming = count_coming(a, l, s->name, slots[slot].version);
            if (l->create[i][slot] > coming) {
                make_some(a, l, s, slot, slots[slot].version, l->create[i][slot] - coming);
            }
        }
    }
}

static void sleep_or_serve(struct agent *a, struct agent_fleet *f, struct agent_look *l,
                           size_t which)
{
    struct agent_member *m = l->members[which];
    switch (l->answers[which].verdict) {
    case DECIDE_SLEEP:
        if (!m->rehearsed) {
            m->rehearsed = agent_has_ready_state(m->name) || begin(a, f, l, which, AGENT_REHEARSE);
        }
        break;
    case DECIDE_REPLACE:
        // The look after it counts that as an end of its own.
        if (begin(a, f, l, which, AGENT_DESTROY)) {
            agent_log("%s: %s runs and does not serve: it is ended", f->name, m->name);
            m->down_ms = 0;
        }
        break;
    case DECIDE_START:
        begin(a, f, l, which, AGENT_START);
        break;
    default:
        break;
    }
    if (m->why[0]) {
        agent_problem(f, "%s: %s", m->name, m->why);
    }
}

void agent_act(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    for (size_t i = 0; i < l->guest_count; i++) {
        struct agent_member *m = l->members[i];
        enum decide_verdict v = l->answers[i].verdict;
        struct agent_job *job = agent_job_of(a, m->name);
        if (job && (job->kind == AGENT_DESTROY || !l->guests[i].active)) {
            // What is wanted of it now waits for the job's end. One that is to go need not be made
            // or started; one that is booted for its ready state and is wanted, not saved.
            job->hurry = job->hurry || v == DECIDE_RETIRE ||
                         (job->kind == AGENT_REHEARSE && v != DECIDE_SLEEP);
            continue;
        }
        if (v == DECIDE_RETIRE) {
            retire(a, f, l, i);
            continue;
        }
        if (m->shutdown_ms && l->guests[i].active) {
            continue; // on its way out already; it is started again when it is off
        }
        m->drain_ms = m->shutdown_ms = 0;
        sleep_or_serve(a, f, l, i);
    }
    make_missing(a, f, l);
}
