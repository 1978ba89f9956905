// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which servers each back end is to have, and what the maps are to say.
#include "hypercall/host/fleet/proxy_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void proxy_backend(const char *service, unsigned slot, char out[PROXY_BACKEND])
{
    snprintf(out, PROXY_BACKEND, "%.20s.%c", service, slot ? 'b' : 'a');
}

const struct proxy_row *proxy_find_row(const struct proxy_row *rows, size_t count,
                                       const char *backend, const char *server)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == PROXY_ROW_SERVER && strcmp(rows[i].server, server) == 0 &&
            strcmp(rows[i].backend, backend) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool is_up(const struct proxy_member *m, const char *backend, const struct proxy_row *rows,
                  size_t row_count)
{
    const struct proxy_row *row = rows ? proxy_find_row(rows, row_count, backend, m->name) : NULL;
    return m->state == PROXY_READY && (rows ? row && row->health == PROXY_UP : m->known_up);
}

// Adds members of `slot` to the back end of `to`. Returns how many of them are up.
static size_t add(const struct proxy_input *in, const char *service, unsigned slot, unsigned to,
                  const struct proxy_row *rows, size_t row_count, struct proxy_server *out,
                  size_t *count)
{
    char own[PROXY_BACKEND];
    size_t up = 0;
    proxy_backend(service, slot, own);
    for (size_t i = 0; i < in->member_count; i++) {
        const struct proxy_member *m = &in->members[i];
        if (m->slot != slot || strcmp(m->service, service) != 0) {
            continue;
        }
        bool runs = is_up(m, own, rows, row_count);
        if (slot != to && !runs) {
            continue;
        }
        struct proxy_server *s = &out[(*count)++];
        proxy_backend(service, to, s->backend);
        s->member = m;
        s->stands_in = slot != to;
        s->is_up = runs;
        up += runs;
    }
    return up;
}

// Do requests come to the back end of a slot, or are some still there?
static bool is_used(const struct proxy_input *in, const char *service, unsigned slot,
                    const struct proxy_row *rows, size_t row_count)
{
    char backend[PROXY_BACKEND];
    proxy_backend(service, slot, backend);
    for (size_t i = 0; i < in->share_count; i++) {
        if (strcmp(in->shares[i].service, service) == 0 &&
            (in->shares[i].stable_slot == slot || in->shares[i].share > 0)) {
            return true;
        }
    }
    for (size_t i = 0; i < in->member_count; i++) {
        if (in->members[i].slot == slot && strcmp(in->members[i].service, service) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < row_count; i++) {
        if (strcmp(rows[i].backend, backend) == 0 && rows[i].sessions + rows[i].queued > 0) {
            return true;
        }
    }
    return false;
}

int proxy_servers(const struct proxy_input *in, const struct proxy_row *rows, size_t row_count,
                  struct proxy_server **out, size_t *count)
{
    const struct fleet_spec *spec = &in->record->spec;
    struct proxy_server *s = calloc(2 * in->member_count + 1, sizeof *s);
    *count = 0;
    *out = s;
    if (!s) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < spec->model_count; i++) {
        const char *service = spec->models[i].name;
        for (unsigned slot = 0; slot < 2; slot++) {
            if (add(in, service, slot, slot, rows, row_count, s, count) == 0 &&
                is_used(in, service, slot, rows, row_count)) {
                add(in, service, 1 - slot, slot, rows, row_count, s, count);
            }
        }
    }
    return 0;
}

// ---- maps --------------------------------------------------------------------------------------

// The one version of a slot's members; "none".
static const char *version_of(const struct proxy_input *in, const char *service, unsigned slot)
{
    const char *version = NULL;
    for (size_t i = 0; i < in->member_count; i++) {
        const struct proxy_member *m = &in->members[i];
        if (m->slot == slot && m->state == PROXY_READY && strcmp(m->service, service) == 0) {
            if (version && strcmp(version, m->version) != 0) {
                return "none";
            }
            version = m->version;
        }
    }
    return version ? version : "none";
}

static bool has_members(const struct proxy_input *in, const char *service, unsigned slot)
{
    for (size_t i = 0; i < in->member_count; i++) {
        if (in->members[i].slot == slot && in->members[i].state == PROXY_READY &&
            strcmp(in->members[i].service, service) == 0) {
            return true;
        }
    }
    return false;
}

static bool serves(const char *backend, const struct proxy_server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (servers[i].is_up && strcmp(servers[i].backend, backend) == 0) {
            return true;
        }
    }
    return false;
}

// Nothing is wanted, or it comes on request.
static bool may_be_empty(const struct proxy_input *in, const struct fleet_model *m)
{
    return fleet_replicas(in->record, m->name) == 0 ||
           (m->autoscale.enabled && m->autoscale.min == 0);
}

static struct proxy_share share_of(const struct proxy_input *in, const char *service)
{
    for (size_t i = 0; i < in->share_count; i++) {
        if (strcmp(in->shares[i].service, service) == 0) {
            return in->shares[i];
        }
    }
    return (struct proxy_share){.share = 0};
}

void proxy_maps(const struct proxy_input *in, const struct proxy_server *servers, size_t count,
                proxy_say_fn *say, void *context)
{
    const struct fleet_spec *spec = &in->record->spec;
    bool all = true;
    for (size_t i = 0; i < spec->model_count; i++) {
        const char *service = spec->models[i].name;
        struct proxy_share share = share_of(in, service);
        unsigned other_slot = 1 - (share.stable_slot & 1);
        char stable[PROXY_BACKEND], other[PROXY_BACKEND], number[16];
        proxy_backend(service, 1 - other_slot, stable);
        proxy_backend(service, other_slot, other);
        snprintf(number, sizeof number, "%u", share.share > 10000 ? 10000 : share.share);
        say(context, PROXY_SHARES, service, number);
        say(context, PROXY_STABLE, service, stable);
        say(context, PROXY_OTHER, service, other);
        say(context, PROXY_CANARY, service, has_members(in, service, other_slot) ? other : "none");
        say(context, PROXY_VERSION_A, service, version_of(in, service, 0));
        say(context, PROXY_VERSION_B, service, version_of(in, service, 1));
        bool good = serves(stable, servers, count);
        say(context, PROXY_HEALTH, service, good ? "ok" : "starting");
        all = all && (good || may_be_empty(in, &spec->models[i]));
    }
    say(context, PROXY_HEALTH, "*", all ? "ok" : "starting");
}
