// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What two looks tell together, and what the agent of fleets adds.
#include "hypercall/host/view/look.h"

#include <stdio.h>
#include <string.h>

void view_take_notes(struct view *v, const json_t *notes)
{
    static const char flapping[] = "flapping: ";
    for (size_t i = 0; i < v->count; i++) {
        struct view_guest *g = &v->guests[i];
        const char *note = json_string_value(json_object_get(notes, g->name));
        if (!note) {
            continue;
        }
        bool flaps = strncmp(note, flapping, sizeof flapping - 1) == 0;
        if (flaps && strcmp(g->state, "running") != 0) {
            snprintf(g->state, sizeof g->state, "flapping");
        }
        snprintf(g->why, sizeof g->why, "%s", note + (flaps ? sizeof flapping - 1 : 0));
        for (char *c = g->why; *c; c++) {
            *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
        }
    }
}

const struct view_guest *view_earlier(const struct view *before, const struct view_guest *g)
{
    for (size_t i = 0; before && i < before->count; i++) {
        if (strcmp(before->guests[i].uuid, g->uuid) == 0) {
            return &before->guests[i];
        }
    }
    return NULL;
}

void view_rate(const struct view *before, const struct view *now, const struct view_guest *g,
               struct view_rates *out)
{
    const struct view_guest *b = view_earlier(before, g);
    *out = (struct view_rates){.p50_ms = -1, .p95_ms = -1, .first_token_ms = -1};
    double seconds = b ? (double)(now->at_ns - before->at_ns) / 1e9 : 0;
    // Counters that went back: it began anew.
    if (seconds <= 0 || g->cpu_ns < b->cpu_ns) {
        return;
    }
    out->cpu_percent = (double)(g->cpu_ns - b->cpu_ns) / 1e7 / seconds;
    const struct view_metrics *m = &g->metrics, *o = &b->metrics;
    if (!m->known || !o->known || m->made_tokens < o->made_tokens || m->ended < o->ended) {
        return;
    }
    out->tokens = (m->made_tokens - o->made_tokens) / seconds;
    out->prompt_tokens =
        m->prompt_tokens > o->prompt_tokens ? (m->prompt_tokens - o->prompt_tokens) / seconds : 0;
    out->requests = (m->ended - o->ended) / seconds;
    out->p50_ms = 1e3 * view_quantile(&o->whole, &m->whole, 0.5);
    out->p95_ms = 1e3 * view_quantile(&o->whole, &m->whole, 0.95);
    out->first_token_ms = 1e3 * view_quantile(&o->first_token, &m->first_token, 0.5);
}
