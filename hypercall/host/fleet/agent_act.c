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
           now - m->drain_ms > AGENT_DRAIN_MS;
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
    if (m->shutdown_ms && now - m->shutdown_ms > AGENT_SHUTDOWN_MS) {
        agent_log("%s: %s does not power off: its plug is pulled", f->name, g->name);
        virDomainDestroy(g->domain);
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

// "engine.context=4096 log=warn"; NULL: no memory.
static char *settings_of(const struct fleet_variant *v)
{
    struct text t = {0};
    text_add(&t, "%s", "");
    for (size_t i = 0; i < v->setting_count; i++) {
        text_add(&t, "%s%s=%s", i ? " " : "", v->settings[i].key, v->settings[i].value);
    }
    return t.failed ? NULL : t.data;
}

// 0: libvirt's own, which is the usual number. A user's session has no control groups for others.
static uint32_t shares_of(const struct agent *a, const struct fleet_variant *v)
{
    bool usual = v->policy == FLEET_POLICY_NORMAL && v->priority == AGENT_USUAL_SHARES;
    if (!a->host.is_system || usual) {
        return 0;
    }
    uint32_t n = v->policy == FLEET_POLICY_REALTIME ? v->priority * 8
                 : v->policy == FLEET_POLICY_BATCH  ? v->priority / 8
                                                    : v->priority;
    return n < 2 ? 2 : n > 262144 ? 262144 : n;
}

// libvirt's words for what `tessera run` calls host and max.
static const char *cpu_of(const struct fleet_variant *v)
{
    return !v->cpu[0]                                ? NULL
           : strcmp(v->cpu, "host-passthrough") == 0 ? "host"
           : strcmp(v->cpu, "maximum") == 0          ? "max"
                                                     : v->cpu;
}

static int make(struct agent *a, const struct fleet_record *r, const char *service,
                const struct fleet_slot *slot, char *error, size_t error_bytes)
{
    static const char *const accels[] = {"auto", "kvm", "tcg"}, *const offloads[] = {NULL, "auto",
                                                                                     "host"};
    static const char *const pages[] = {NULL, "2M", "1G"};
    const struct fleet_variant *v = slot->variant;
    char name[49], path[PATH_MAX];
    char *settings = settings_of(v);
    snprintf(path, sizeof path, "%s", v->model);
    random_name(r->spec.name, service, name);
    struct guest_request q = {.name = name,
                              .model = path,
                              .image = v->image[0] ? v->image : NULL,
                              .accel = accels[v->accel],
                              .offload = offloads[v->offload],
                              .cpu = cpu_of(v),
                              .hugepages = pages[v->hugepages],
                              .pin = v->pin[0] ? v->pin : NULL,
                              .key = r->internal_key,
                              .settings = settings && settings[0] ? settings : NULL,
                              .vcpus = v->vcpus,
                              .memory_mb = v->memory_mb,
                              .shares = shares_of(a, v),
                              .offload_weight = v->offload ? v->offload_share : 0,
                              .first_port = AGENT_FIRST_PORT,
                              .persistent = true,
                              .fleet = r->spec.name,
                              .service = service,
                              .version = slot->version};
    struct guest g = {.watch.callback = -1};
    int rc = settings ? guest_plan(&a->host, &q, &g, error, error_bytes) : -ENOMEM;
    rc = rc ? rc : guest_create(&a->host, &q, &g, error, error_bytes);
    guest_free(&a->host, &g);
    free(settings);
    if (!rc) {
        agent_log("%s: %s starts (%s, version %s)", r->spec.name, name, v->model, slot->version);
    }
    return rc;
}

static void make_missing(struct agent *a, struct agent_fleet *f, struct agent_look *l,
                         unsigned *starts)
{
    char error[900] = "";
    for (size_t i = 0; i < l->record.service_count; i++) {
        const char *name = l->record.services[i].name;
        struct agent_service *s = agent_service(f, name);
        struct fleet_slot slots[2];
        fleet_slots(&l->record, name, slots);
        for (unsigned n = 0; s && n < 2; n++) {
            unsigned slot = n ? !(l->record.services[i].stable_slot & 1)
                              : l->record.services[i].stable_slot & 1;
            uint64_t now = agent_now_ms();
            for (uint32_t k = 0; k < l->create[i][slot] && *starts < AGENT_STARTS; k++) {
                if (!slots[slot].variant || !backoff_may_start(&s->making, now)) {
                    break;
                }
                ++*starts;
                if (make(a, &l->record, name, &slots[slot], error, sizeof error) != 0) {
                    backoff_failed(&s->making, now);
                    agent_failed(f, name, slots[slot].version);
                    snprintf(s->why, sizeof s->why, "%.280s", error);
                    break;
                }
                memset(&s->making, 0, sizeof s->making);
                s->why[0] = 0;
            }
        }
        if (s && s->why[0]) {
            agent_problem(f, "%s: %s", name, s->why);
        }
    }
}

static void start_again(struct agent *a, struct agent_fleet *f, struct agent_look *l, size_t which)
{
    char error[900] = "";
    struct agent_member *m = l->members[which];
    const struct carrier_guest *c = &l->guests[which];
    struct guest g = {.watch.callback = -1};
    uint64_t begun = agent_now_ms();
    int rc = guest_start(&a->host, m->name, 0, &g, error, sizeof error);
    if (rc == -EADDRINUSE) { // somebody else has its port by now
        guest_free(&a->host, &g);
        g = (struct guest){.watch.callback = -1};
        uint32_t next = endpoint_next_port(NULL, AGENT_FIRST_PORT);
        rc = guest_start(&a->host, m->name, next, &g, error, sizeof error);
    }
    m->from = g.from;
    m->start_ms = rc ? 0 : begun;
    guest_free(&a->host, &g);
    if (rc && rc != -EALREADY) {
        backoff_failed(&m->backoff, agent_now_ms());
        agent_failed(f, c->facts.service, c->facts.version);
        agent_problem(f, "%s: %s", m->name, error);
        return;
    }
    m->was_active = true;
    m->drain_ms = m->shutdown_ms = 0;
    agent_log("%s: %s is started again, %s", f->name, m->name, guest_from_name(m->from));
}

void agent_act(struct agent *a, struct agent_fleet *f, struct agent_look *l)
{
    unsigned starts = 0;
    for (size_t i = 0; i < l->guest_count; i++) {
        struct agent_member *m = l->members[i];
        enum decide_verdict v = l->answers[i].verdict;
        if (v == DECIDE_RETIRE) {
            retire(a, f, l, i);
            continue;
        }
        if (m->shutdown_ms && l->guests[i].active) {
            continue; // on its way out already; it is started again when it is off
        }
        m->drain_ms = m->shutdown_ms = 0;
        if (v == DECIDE_SLEEP) {
            agent_rehearse(a, f, m);
        } else if (v == DECIDE_REPLACE) {
            agent_log("%s: %s runs and does not serve: it is ended", f->name, m->name);
            virDomainDestroy(l->guests[i].domain); // the next look counts it as an end of its own
            m->down_ms = 0;
        } else if (v == DECIDE_START && starts < AGENT_STARTS) {
            starts++;
            start_again(a, f, l, i);
        }
    }
    make_missing(a, f, l, &starts);
}
