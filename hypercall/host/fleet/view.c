// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's state put together from libvirt, HAProxy and the agent.
#include "hypercall/host/fleet/view.h"

#include "hypercall/host/fleet/agent_parts.h"
#include "hypercall/host/fleet/proxy_process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void fleet_view_free(struct fleet_view *v)
{
    fleet_record_free(&v->record);
    carrier_guests_free(v->guests, v->guest_count);
    free(v->members);
    free(v->rows);
    free(v->services);
    json_decref(v->notes);
    json_decref(v->problems);
    memset(v, 0, sizeof *v);
}

static void ask_agent(const char *uri, struct fleet_view *v)
{
    char error[300];
    json_t *answer = NULL,
           *request = json_pack("{s:s,s:s}", "op", "status", "fleet", v->record.spec.name);
    if (request && agent_ask(uri, request, &answer, error, sizeof error) == 0) {
        v->agent_runs = true;
        v->notes = json_incref(json_object_get(answer, "notes"));
        v->problems = json_incref(json_object_get(answer, "problems"));
        v->making = (uint32_t)json_integer_value(json_object_get(answer, "making"));
    }
    json_decref(request);
    json_decref(answer);
}

static void see_members(struct fleet_view *v)
{
    for (size_t i = 0; i < v->guest_count; i++) {
        const struct carrier_guest *g = &v->guests[i];
        struct fleet_member *m = &v->members[i];
        struct proxy_row row;
        snprintf(m->name, sizeof m->name, "%.48s", g->name);
        snprintf(m->service, sizeof m->service, "%.20s", g->facts.service);
        snprintf(m->version, sizeof m->version, "%.12s", g->facts.version);
        m->port = g->facts.port;
        m->running = g->active;
        m->healthy = g->active && proxy_member_row(v->rows, v->row_count, g->name, &row) &&
                     row.health == PROXY_UP;
    }
}

// Of a model that nobody asks, one guest stays defined (decide.h).
static bool is_asleep(const struct view_service *s, const struct fleet_model *model,
                      const struct fleet_member *m, const struct fleet_slot slots[2])
{
    const struct fleet_slot *stable = slots[0].stable ? &slots[0] : &slots[1];
    return s->wanted == 0 && s->asleep == 0 && !m->running && model && model->autoscale.enabled &&
           model->autoscale.min == 0 && stable->variant && strcmp(m->version, stable->version) == 0;
}

static void see_service(struct fleet_view *v, size_t which)
{
    const struct fleet_service *s = &v->record.services[which];
    const struct fleet_model *model = fleet_find(&v->record.spec, s->name);
    struct view_service *out = &v->services[which];
    struct fleet_slot slots[2];
    memcpy(out->name, s->name, sizeof out->name);
    fleet_slots(&v->record, s->name, slots);
    out->p95_ms = -1;
    out->wanted = v->record.down ? 0 : fleet_replicas(&v->record, s->name);
    if (out->wanted && model && model->has_canary) {
        out->wanted += model->canary_replicas;
    }
    for (size_t i = 0; i < v->guest_count; i++) {
        const struct fleet_member *m = &v->members[i];
        if (strcmp(m->service, s->name) != 0) {
            continue;
        }
        bool known = (slots[0].variant && strcmp(m->version, slots[0].version) == 0) ||
                     (slots[1].variant && strcmp(m->version, slots[1].version) == 0);
        if (!v->record.down && is_asleep(out, model, m, slots)) {
            out->asleep++;
            continue;
        }
        out->present++;
        out->outdated += !known;
        out->ready += known && m->healthy;
    }
}

static void measure_services(struct fleet_view *v)
{
    uint32_t *ports = calloc(v->guest_count + 1, sizeof *ports);
    struct measure *found = calloc(v->guest_count + 1, sizeof *found);
    bool *ok = calloc(v->guest_count + 1, sizeof *ok);
    if (ports && found && ok) {
        for (size_t i = 0; i < v->guest_count; i++) {
            ports[i] = v->members[i].healthy ? v->members[i].port : 1; // refused at once
        }
        agent_scrape(ports, v->guest_count, v->record.internal_key, found, ok);
        for (size_t s = 0; s < v->record.service_count; s++) {
            struct measure_window w = {0};
            for (size_t i = 0; i < v->guest_count; i++) {
                if (ok[i] && strcmp(v->members[i].service, v->services[s].name) == 0) {
                    measure_add(&w, NULL, &found[i]);
                }
            }
            v->services[s].p95_ms = measure_quantile_ms(&w, 0.95);
            v->services[s].requests = measure_requests(&w);
        }
    }
    free(ports);
    free(found);
    free(ok);
}

int fleet_view_take(virConnectPtr c, const char *uri, const char *fleet, bool measure,
                    struct fleet_view *v, char *error, size_t error_bytes)
{
    char unused[300];
    memset(v, 0, sizeof *v);
    int rc = carrier_read(c, fleet, &v->record, error, error_bytes);
    rc = rc ? rc : carrier_guests(c, fleet, &v->guests, &v->guest_count, error, error_bytes);
    rc = rc ? rc : proxy_folder(uri, fleet, v->folder, sizeof v->folder, error, error_bytes);
    if (rc) {
        fleet_view_free(v);
        return rc;
    }
    v->endpoint_runs = proxy_stats(v->folder, &v->rows, &v->row_count, unused, sizeof unused) == 0;
    v->members = calloc(v->guest_count + 1, sizeof *v->members);
    v->services = calloc(v->record.service_count + 1, sizeof *v->services);
    if (!v->members || !v->services) {
        fleet_view_free(v);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    see_members(v);
    for (size_t i = 0; i < v->record.service_count; i++) {
        see_service(v, i);
    }
    if (measure) {
        measure_services(v);
    }
    ask_agent(uri, v);
    return 0;
}

bool fleet_view_settled(const struct fleet_view *v, int64_t since_ms)
{
    if (v->record.down || !v->endpoint_runs || v->making) {
        return false;
    }
    for (size_t i = 0; i < v->record.service_count; i++) {
        const struct view_service *s = &v->services[i];
        const struct fleet_service *r = &v->record.services[i];
        bool deploys = r->has_deployment && deploy_is_running(&r->deployment);
        if (deploys && r->deployment.started_ms < since_ms) {
            if (s->ready < s->wanted) {
                return false;
            }
        } else if (deploys || s->ready != s->wanted || s->present != s->wanted || s->outdated) {
            return false;
        }
    }
    return true;
}

void fleet_view_summary(const struct fleet_view *v, struct text *out)
{
    for (size_t i = 0; i < v->record.service_count; i++) {
        const struct view_service *s = &v->services[i];
        const struct fleet_service *r = &v->record.services[i];
        if (v->record.down) {
            text_add(out, "%s%s: %u left", i ? ", " : "", s->name, s->present);
            continue;
        }
        text_add(out, "%s%s %u of %u ready", i ? ", " : "", s->name, s->ready, s->wanted);
        if (s->asleep) {
            text_add(out, " (asleep)");
        }
        if (s->present > s->ready) {
            text_add(out, " (%u more there)", s->present - s->ready);
        }
        if (r->has_deployment && deploy_is_running(&r->deployment)) {
            text_add(out, " [%s %s, %u %%]", fleet_strategy_name(r->deployment.strategy),
                     fleet_phase_name(r->deployment.phase), r->deployment.weight);
        }
    }
    if (!v->endpoint_runs && !v->record.down) {
        text_add(out, ", no endpoint yet");
    }
}

// ---- JSON --------------------------------------------------------------------------------------

static json_t *deployment_to_json(const struct fleet_deployment *d)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:i,s:b,s:s}", "strategy", fleet_strategy_name(d->strategy),
                     "phase", fleet_phase_name(d->phase), "from", d->from, "to", d->to, "weight",
                     (int)d->weight, "hold", (int)d->hold, "reason", d->reason);
}

static json_t *members_to_json(const struct fleet_view *v, const char *service)
{
    json_t *list = json_array();
    struct fleet_slot slots[2];
    fleet_slots(&v->record, service, slots);
    bool sleeps = false;
    for (size_t i = 0; i < v->record.service_count; i++) {
        sleeps = sleeps || (strcmp(v->services[i].name, service) == 0 && v->services[i].asleep);
    }
    for (size_t i = 0; i < v->guest_count; i++) {
        const struct fleet_member *m = &v->members[i];
        struct proxy_row row = {0};
        if (strcmp(m->service, service) != 0) {
            continue;
        }
        proxy_member_row(v->rows, v->row_count, m->name, &row);
        int slot = -1;
        for (int n = 0; n < 2; n++) {
            slot = slots[n].variant && strcmp(slots[n].version, m->version) == 0 ? n : slot;
        }
        const char *note = json_string_value(json_object_get(v->notes, m->name));
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:s}", "name", m->name,
                                        "version", m->version, "role",
                                        slot < 0             ? "outdated"
                                        : slots[slot].stable ? "stable"
                                                             : "canary",
                                        "state",
                                        !m->running                    ? (sleeps ? "asleep" : "off")
                                        : m->healthy                   ? "ready"
                                        : row.health == PROXY_DRAINING ? "draining"
                                                                       : "starting",
                                        "port", (int)m->port, "requests", (json_int_t)row.requests,
                                        "running", (json_int_t)row.sessions, "mean_ms",
                                        (json_int_t)row.latency_ms, "note", note ? note : ""));
    }
    return list;
}

json_t *fleet_view_to_json(const struct fleet_view *v)
{
    json_t *services = json_array();
    const struct fleet_endpoint *e = &v->record.spec.endpoint;
    bool v6 = strchr(e->host, ':') != NULL;
    for (size_t i = 0; i < v->record.service_count; i++) {
        const struct view_service *s = &v->services[i];
        const struct fleet_service *r = &v->record.services[i];
        json_t *one =
            json_pack("{s:s,s:i,s:i,s:i,s:f,s:f,s:o}", "name", s->name, "wanted", (int)s->wanted,
                      "ready", (int)s->ready, "present", (int)s->present, "requests", s->requests,
                      "p95_ms", s->p95_ms, "guests", members_to_json(v, s->name));
        if (r->has_deployment) {
            json_object_set_new(one, "deployment", deployment_to_json(&r->deployment));
        }
        json_array_append_new(services, one);
    }
    char url[160];
    snprintf(url, sizeof url, "%s://%s%s%s:%u", e->certificate[0] ? "https" : "http", v6 ? "[" : "",
             e->host, v6 ? "]" : "", e->port);
    return json_pack("{s:s,s:s,s:b,s:b,s:i,s:I,s:b,s:b,s:o,s:O}", "name", v->record.spec.name,
                     "endpoint", url, "endpoint_runs", (int)v->endpoint_runs, "agent_runs",
                     (int)v->agent_runs, "making", (int)v->making, "generation",
                     (json_int_t)v->record.generation, "settled", (int)fleet_view_settled(v, 0),
                     "down", (int)v->record.down, "services", services, "problems",
                     v->problems ? v->problems : json_array());
}
