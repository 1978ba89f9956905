// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What takes long with one guest, each in a thread of its own: it is made, started again, booted
// for its ready state, ended. They know nothing of the agent but their job.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REHEARSAL_S = 30 /* at least */, STOP_S = 5 };

// ---- made --------------------------------------------------------------------------------------

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
static uint32_t shares_of(const struct guest_host *h, const struct fleet_variant *v)
{
    bool usual = v->policy == FLEET_POLICY_NORMAL && v->priority == AGENT_USUAL_SHARES;
    if (!h->is_system || usual) {
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

static int make_of(struct guest_host *h, struct agent_job *j, const struct fleet_record *r,
                   const struct fleet_slot *slot)
{
    static const char *const accels[] = {"auto", "kvm", "tcg"}, *const offloads[] = {NULL, "auto",
                                                                                     "host"};
    static const char *const pages[] = {NULL, "2M", "1G"};
    const struct fleet_variant *v = slot->variant;
    char path[PATH_MAX];
    char *settings = settings_of(v);
    snprintf(path, sizeof path, "%s", v->model);
    struct guest_request q = {.name = j->name,
                              .model = path,
                              .image = v->image[0] ? v->image : NULL,
                              .accel = accels[v->accel],
                              .offload = offloads[v->offload],
                              .cpu = cpu_of(v),
                              .hugepages = pages[v->hugepages],
                              .pin = v->pin[0] ? v->pin : NULL,
                              .key = r->internal_key,
                              .key_is_optional = true,
                              .settings = settings && settings[0] ? settings : NULL,
                              .vcpus = v->vcpus,
                              .memory_mb = v->memory_mb,
                              .shares = shares_of(h, v),
                              .offload_weight = v->offload ? v->offload_share : 0,
                              .first_port = AGENT_FIRST_PORT,
                              .persistent = true,
                              .fleet = r->spec.name,
                              .service = j->service,
                              .version = j->version};
    struct guest g = {.watch.callback = -1};
    int rc = settings ? guest_plan(h, &q, &g, j->error, sizeof j->error) : -ENOMEM;
    rc = !rc && j->hurry ? -EINTR : rc;
    rc = rc ? rc : guest_create(h, &q, &g, j->error, sizeof j->error);
    if (!rc && j->hurry) { // another fleet of this name may be there by now
        guest_give_up(h, &g);
        rc = -EINTR;
    }
    guest_free(h, &g);
    free(settings);
    return rc;
}

int agent_make(struct guest_host *h, struct agent_job *j)
{
    struct fleet_record r;
    int rc = fleet_record_parse(j->record, strlen(j->record), &r, j->error, sizeof j->error);
    if (rc) {
        return rc;
    }
    struct fleet_slot slots[2];
    fleet_slots(&r, j->service, slots);
    rc = slots[j->slot].variant ? make_of(h, j, &r, &slots[j->slot]) : -ENOENT;
    fleet_record_free(&r);
    return rc;
}

// ---- one that exists ---------------------------------------------------------------------------

// The key is in no other place, and is the agent's to give: another guest is made instead.
static bool lost_its_key(struct guest_host *h, const char *name)
{
    char unused[400];
    virDomainPtr d;
    struct machine_facts facts;
    if (machine_find(h->libvirt, name, &d, &facts, unused, sizeof unused) != 0) {
        return false;
    }
    virDomainFree(d);
    return facts.key_file[0] && access(facts.key_file, F_OK) != 0 && errno == ENOENT;
}

int agent_start(struct guest_host *h, struct agent_job *j)
{
    struct guest g = {.watch.callback = -1};
    int rc = guest_start(h, j->name, 0, &g, j->error, sizeof j->error);
    if (rc == -EADDRINUSE) { // somebody else has its port by now
        guest_free(h, &g);
        g = (struct guest){.watch.callback = -1};
        uint32_t next = endpoint_next_port(NULL, AGENT_FIRST_PORT);
        rc = guest_start(h, j->name, next, &g, j->error, sizeof j->error);
    }
    j->from = g.from;
    guest_free(h, &g);
    if (rc == -ENOENT && lost_its_key(h, j->name)) {
        char unused[400];
        j->removed = guest_remove(h, j->name, unused, sizeof unused) == 0;
    }
    return rc == -EALREADY ? 0 : rc;
}

int agent_rehearse(struct guest_host *h, struct agent_job *j)
{
    bool in_order;
    char unused[400];
    uint64_t begun = agent_now_ms();
    struct guest g = {.watch.callback = -1};
    int rc = guest_start_from(h, j->name, 0, GUEST_FROM_BOOT, &g, j->error, sizeof j->error);
    j->from = g.from;
    if (rc) {
        guest_free(h, &g);
        return rc;
    }
    rc = guest_wait(h, &g, j->start_s > REHEARSAL_S ? j->start_s : REHEARSAL_S, &j->hurry, j->error,
                    sizeof j->error);
    if (rc == -EINTR) { // it is wanted: let it serve
        j->stays = true;
        guest_free(h, &g);
        return 0;
    }
    double ms = (double)(agent_now_ms() - begun);
    rc = rc ? rc : guest_save_ready(h, j->name, &j->state_bytes, j->error, sizeof j->error);
    if (rc) {
        guest_stop(h, j->name, STOP_S, &j->hurry, &in_order, unused, sizeof unused);
    } else {
        guest_note_start(&g, ms);
    }
    guest_free(h, &g);
    return rc;
}

int agent_destroy(struct guest_host *h, struct agent_job *j)
{
    virDomainPtr d = virDomainLookupByName(h->libvirt, j->name);
    if (d) {
        virDomainDestroy(d); // the next look sees what came of it
        virDomainFree(d);
    }
    return 0;
}
