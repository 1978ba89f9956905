// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests at one moment: libvirt first, then all of them over HTTP at once.
#include "hypercall/host/view/look.h"
#include "hypercall/host/base/clock.h"
#include "hypercall/host/base/http.h"
#include "hypercall/host/guest/guest.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/view/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_MS = 900, YOUNG_S = 10 };

// ---- libvirt -----------------------------------------------------------------------------------

static void take_state(virDomainPtr d, struct view_guest *g)
{
    int state, reason;
    const char *text = "gone";
    if (virDomainGetState(d, &state, &reason, 0) == 0) {
        bool saved = state == VIR_DOMAIN_SHUTOFF && virDomainHasManagedSaveImage(d, 0) == 1;
        g->active = state != VIR_DOMAIN_SHUTOFF && state != VIR_DOMAIN_CRASHED;
        text = state == VIR_DOMAIN_RUNNING    ? "running"
               : state == VIR_DOMAIN_PAUSED   ? "paused"
               : state == VIR_DOMAIN_SHUTDOWN ? "stopping"
               : saved                        ? "suspended"
               : state == VIR_DOMAIN_CRASHED ||
                       (state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_CRASHED)
                   ? "crashed"
               : state == VIR_DOMAIN_SHUTOFF ? "off"
                                             : "other";
    }
    snprintf(g->state, sizeof g->state, "%s", text);
}

// Is it one of ours? Fills in all but what the guest says itself.
static bool take_domain(virDomainPtr d, struct view_guest *g)
{
    virDomainInfo info = {0};
    char *xml = virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
    bool ours = xml && machine_facts_parse(xml, &g->facts) == 0;
    int autostart = 0;
    free(xml);
    if (!ours) {
        return false;
    }
    snprintf(g->name, sizeof g->name, "%s", virDomainGetName(d));
    virDomainGetUUIDString(d, g->uuid);
    take_state(d, g);
    if (virDomainGetInfo(d, &info) == 0) {
        g->vcpus = info.nrVirtCpu;
        g->memory_mb = info.memory >> 10;
        g->cpu_ns = info.cpuTime;
    }
    g->persistent = virDomainIsPersistent(d) == 1;
    if (g->persistent && virDomainGetAutostart(d, &autostart) == 0) {
        g->autostart = autostart != 0;
    }
    if (g->active) {
        guest_take_key(d, &g->facts);
    }
    if (g->active || !g->facts.network[0]) {
        guest_url(d, &g->facts, g->url, sizeof g->url);
    }
    return true;
}

// What QEMU takes, of all at once and without waiting for a guest that libvirt is busy with.
static void take_sizes(virConnectPtr c, struct view *v)
{
    virDomainStatsRecordPtr *records = NULL;
    int n = virConnectGetAllDomainStats(c, VIR_DOMAIN_STATS_BALLOON, &records,
                                        VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE |
                                            VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN] = "";
        unsigned long long rss = 0;
        virDomainGetUUIDString(records[i]->dom, uuid);
        virTypedParamsGetULLong(records[i]->params, records[i]->nparams, "balloon.rss", &rss);
        for (size_t j = 0; j < v->count; j++) {
            if (strcmp(v->guests[j].uuid, uuid) == 0) {
                v->guests[j].rss_kb = rss;
            }
        }
    }
    virDomainStatsRecordListFree(records);
}

// ---- the guests themselves ---------------------------------------------------------------------

static void judge(struct view_guest *g, const struct http_question *health, uint64_t at_ns)
{
    char message[200] = "";
    bool running = strcmp(g->state, "running") == 0;
    if (!running || health->http == 200) {
        return;
    }
    bool young = g->began_ns && at_ns - g->began_ns < YOUNG_S * 1000000000ull;
    if (health->http == 0) {
        snprintf(g->state, sizeof g->state, young ? "loading" : "unhealthy");
        snprintf(g->why, sizeof g->why, young ? "" : "no answer at %s/health", g->url);
        return;
    }
    endpoint_message(health->body ? health->body : "", message, sizeof message);
    if (health->http == 503 && strcmp(message, "Loading model") == 0) {
        snprintf(g->state, sizeof g->state, "loading");
        return;
    }
    snprintf(g->state, sizeof g->state, "unhealthy");
    snprintf(g->why, sizeof g->why, "/health says %d%s%.150s", health->http, message[0] ? ": " : "",
             message);
}

static int ask_guests(struct view *v)
{
    struct http_question *asked = calloc(v->count ? 2 * v->count : 1, sizeof *asked);
    size_t n = 0;
    if (!asked) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < v->count; i++) {
        struct view_guest *g = &v->guests[i];
        if (g->active && g->url[0]) {
            snprintf(asked[n].url, sizeof asked[n].url, "%s/health", g->url);
            snprintf(asked[n + 1].url, sizeof asked[n + 1].url, "%s/metrics", g->url);
            asked[n].key = asked[n + 1].key = g->facts.key;
            n += 2;
        }
    }
    int rc = http_ask(asked, n, ASK_MS);
    uint64_t at_ns = monotonic_ns();
    n = 0;
    for (size_t i = 0; i < v->count; i++) {
        struct view_guest *g = &v->guests[i];
        if (!g->active || !g->url[0]) {
            continue;
        }
        g->health = asked[n].http;
        g->answered = asked[n + 1].http;
        if (g->answered == 200 && asked[n + 1].body) {
            view_metrics_parse(asked[n + 1].body, &g->metrics);
        }
        judge(g, &asked[n], at_ns);
        free(asked[n].body);
        free(asked[n + 1].body);
        n += 2;
    }
    free(asked);
    return rc;
}

// ---- all of it ---------------------------------------------------------------------------------

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct view_guest *)a)->name, ((const struct view_guest *)b)->name);
}

static int list_domains(virConnectPtr c, const char *only, virDomainPtr **out, char *error,
                        size_t error_bytes)
{
    struct machine_facts unused;
    if (!only) {
        int count = virConnectListAllDomains(c, out, 0);
        return count < 0 ? machine_say_libvirt("listing guests", error, error_bytes) : count;
    }
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return -ENOMEM;
    }
    int rc = machine_find(c, only, *out, &unused, error, error_bytes);
    return rc ? rc : 1;
}

int view_look(virConnectPtr c, const char *only, bool local, struct view *out, char *error,
              size_t error_bytes)
{
    virDomainPtr *domains = NULL;
    *out = (struct view){0};
    int count = list_domains(c, only, &domains, error, error_bytes);
    if (count < 0) {
        free(domains);
        return count;
    }
    out->guests = calloc(count ? (size_t)count : 1, sizeof *out->guests);
    for (int i = 0; i < count; i++) {
        if (out->guests && take_domain(domains[i], &out->guests[out->count])) {
            out->count++;
        } else if (out->guests) {
            memset(&out->guests[out->count], 0, sizeof *out->guests);
        }
        virDomainFree(domains[i]);
    }
    free(domains);
    if (!out->guests) {
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    qsort(out->guests, out->count, sizeof *out->guests, by_name);
    take_sizes(c, out);
    out->at_ns = monotonic_ns();
    if (local) {
        view_processes(out);
    }
    int rc = ask_guests(out);
    if (rc) {
        snprintf(error, error_bytes, "no memory");
    }
    return rc;
}

void view_free(struct view *v)
{
    free(v->guests);
    v->guests = NULL;
    v->count = 0;
}
