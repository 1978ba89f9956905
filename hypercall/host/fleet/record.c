// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's record in memory: made, given a new specification, looked at.
#include "hypercall/host/fleet/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

const struct fleet_limits fleet_default_limits = {
    .error_rate = 0.05, .latency_ratio = 2, .requests = 20, .step_ms = 30000, .ready_ms = 120000};

const char *fleet_strategy_name(enum fleet_strategy s)
{
    static const char *const names[] = {"rolling", "canary", "blue-green"};
    return names[s];
}

const char *fleet_phase_name(enum fleet_phase p)
{
    static const char *const names[] = {"starting", "shifting",     "promoting",
                                        "done",     "rolling-back", "rolled-back"};
    return names[p];
}

void fleet_record_free(struct fleet_record *r)
{
    fleet_spec_free(&r->spec);
    free(r->services);
    memset(r, 0, sizeof *r);
}

bool fleet_is_own(const struct fleet_record *r)
{
    return r->owner < 0 || r->owner == (int64_t)getuid();
}

struct fleet_service *fleet_service(const struct fleet_record *r, const char *name)
{
    for (size_t i = 0; i < r->service_count; i++) {
        if (strcmp(r->services[i].name, name) == 0) {
            return &r->services[i];
        }
    }
    return NULL;
}

uint32_t fleet_replicas(const struct fleet_record *r, const char *service)
{
    const struct fleet_model *m = fleet_find(&r->spec, service);
    const struct fleet_service *s = fleet_service(r, service);
    if (!m || !s) {
        return 0;
    }
    uint32_t n = s->has_replicas ? s->replicas : m->replicas;
    if (m->autoscale.enabled) {
        n = n < m->autoscale.min ? m->autoscale.min : n > m->autoscale.max ? m->autoscale.max : n;
    }
    return n;
}

int fleet_record_respecify(struct fleet_record *r, struct fleet_spec *spec, char *error,
                           size_t error_bytes)
{
    struct fleet_service *services = calloc(spec->model_count, sizeof *services);
    if (!services) {
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    for (size_t i = 0; i < spec->model_count; i++) {
        const struct fleet_model *m = &spec->models[i], *before = fleet_find(&r->spec, m->name);
        const struct fleet_service *old = fleet_service(r, m->name);
        if (old) {
            services[i] = *old;
            // A number that fleet.yaml changes counts again; one by `scale` holds until then.
            if (!before || before->replicas != m->replicas ||
                before->autoscale.enabled != m->autoscale.enabled) {
                services[i].has_replicas = false;
            }
        } else {
            memcpy(services[i].name, m->name, sizeof services[i].name);
        }
    }
    free(r->services);
    fleet_spec_free(&r->spec);
    r->services = services;
    r->service_count = spec->model_count;
    r->spec = *spec;
    memset(spec, 0, sizeof *spec);
    return 0;
}

int fleet_record_new(struct fleet_spec *spec, struct fleet_record *out, char *error,
                     size_t error_bytes)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    uint8_t random[40];
    memset(out, 0, sizeof *out);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        snprintf(error, error_bytes, "no random numbers: %s", strerror(errno));
        return -EIO;
    }
    for (size_t i = 0; i < sizeof random; i++) {
        out->internal_key[i] = letters[random[i] & 63];
    }
    out->generation = 1;
    out->owner = (int64_t)getuid();
    return fleet_record_respecify(out, spec, error, error_bytes);
}

static uint32_t share_of(const struct fleet_deployment *d)
{
    switch (d->phase) {
    case FLEET_SHIFTING:
        return d->strategy == FLEET_ROLLING ? 0 : d->weight * 100;
    case FLEET_PROMOTING:
        return 10000;
    case FLEET_STARTING:
    case FLEET_DONE:
    case FLEET_ROLLING_BACK:
    case FLEET_ROLLED_BACK:
        break;
    }
    return 0;
}

void fleet_slots(const struct fleet_record *r, const char *service, struct fleet_slot out[2])
{
    const struct fleet_model *m = fleet_find(&r->spec, service);
    const struct fleet_service *s = fleet_service(r, service);
    memset(out, 0, 2 * sizeof *out);
    if (!m || !s) {
        return;
    }
    struct fleet_slot *stable = &out[s->stable_slot], *other = &out[1 - s->stable_slot];
    const struct fleet_deployment *d = s->has_deployment ? &s->deployment : NULL;
    stable->variant = &m->variant;
    stable->stable = true;
    if (d && d->phase != FLEET_DONE && d->phase != FLEET_ROLLED_BACK) {
        other->variant = &d->variant;
        other->share = share_of(d);
    } else if (m->has_canary) {
        other->variant = &m->canary;
        other->share = m->canary_weight * 100;
    }
    for (int i = 0; i < 2; i++) {
        if (out[i].variant) {
            fleet_version(out[i].variant, out[i].version);
        }
    }
    stable->share = 10000 - other->share;
}
