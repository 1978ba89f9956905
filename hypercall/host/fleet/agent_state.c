// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the agent remembers of fleets, their services and guests.
#include "hypercall/host/fleet/agent_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct agent_fleet *agent_fleet(struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->fleet_count; i++) {
        if (strcmp(a->fleets[i].name, name) == 0) {
            return &a->fleets[i];
        }
    }
    struct agent_fleet *all = realloc(a->fleets, (a->fleet_count + 1) * sizeof *all);
    if (!all) {
        return NULL;
    }
    a->fleets = all;
    struct agent_fleet *f = &all[a->fleet_count++];
    memset(f, 0, sizeof *f);
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
}

struct agent_service *agent_service(struct agent_fleet *f, const char *name)
{
    for (size_t i = 0; i < f->service_count; i++) {
        if (strcmp(f->services[i].name, name) == 0) {
            return &f->services[i];
        }
    }
    struct agent_service *all = realloc(f->services, (f->service_count + 1) * sizeof *all);
    if (!all) {
        return NULL;
    }
    f->services = all;
    struct agent_service *s = &all[f->service_count++];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->wake[0].listener = s->wake[1].listener = -1;
    s->p95_ms = -1;
    return s;
}

struct agent_member *agent_member(struct agent_fleet *f, const char *name)
{
    for (size_t i = 0; i < f->member_count; i++) {
        if (strcmp(f->members[i].name, name) == 0) {
            return &f->members[i];
        }
    }
    struct agent_member *all = realloc(f->members, (f->member_count + 1) * sizeof *all);
    if (!all) {
        return NULL;
    }
    f->members = all;
    struct agent_member *m = &all[f->member_count++];
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s", name);
    return m;
}

void agent_failed(struct agent_fleet *f, const char *service, const char *version)
{
    struct agent_service *s = agent_service(f, service);
    if (s && s->deploying[0] && strcmp(s->deploying, version) == 0) {
        s->failures++;
    }
}

void agent_forget_members(struct agent_fleet *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->member_count; i++) {
        if (f->members[i].present) {
            f->members[kept++] = f->members[i];
        }
    }
    f->member_count = kept;
}

void agent_forget_absent(struct agent *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->fleet_count; i++) {
        struct agent_fleet *f = &a->fleets[i];
        if (f->present) {
            if (kept != i) {
                a->fleets[kept] = *f;
            }
            kept++;
            continue;
        }
        for (size_t s = 0; s < f->service_count; s++) {
            agent_wake_close(a, &f->services[s].wake[0]);
            agent_wake_close(a, &f->services[s].wake[1]);
        }
        free(f->services);
        free(f->members);
    }
    a->fleet_count = kept;
}

void agent_problem(struct agent_fleet *f, const char *format, ...)
{
    va_list args;
    if (f->problem_count < AGENT_PROBLEMS) {
        va_start(args, format);
        vsnprintf(f->problems[f->problem_count++], sizeof f->problems[0], format, args);
        va_end(args);
    }
}

void agent_log_problems(struct agent_fleet *f)
{
    for (size_t i = 0; i < f->problem_count; i++) {
        bool known = false;
        for (size_t j = 0; j < f->logged_count; j++) {
            known = known || strcmp(f->problems[i], f->logged[j]) == 0;
        }
        if (!known) {
            agent_log("%s: %s", f->name, f->problems[i]);
        }
    }
    memcpy(f->logged, f->problems, sizeof f->logged);
    f->logged_count = f->problem_count;
}
