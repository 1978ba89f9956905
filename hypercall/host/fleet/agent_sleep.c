// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests that sleep: of a model that nobody asks, one stays defined and off. It is booted once more
// for its ready state, so that the request that wakes it need not wait for a boot where that takes
// longer.
#include "hypercall/host/fleet/agent_parts.h"
#include "hypercall/host/machine/record.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { REHEARSAL_S = 30, STOP_S = 5 };

void agent_note_start(struct agent_member *m, uint64_t now)
{
    struct guest g = {.from = m->from};
    if (m->start_ms) {
        snprintf(g.name, sizeof g.name, "%s", m->name);
        guest_note_start(&g, (double)(now - m->start_ms));
        m->start_ms = 0;
    }
}

static bool has_ready_state(const char *name)
{
    char path[PATH_MAX], unused[300];
    return record_path(name, RECORD_READY, false, path, sizeof path, unused, sizeof unused) == 0 &&
           access(path, F_OK) == 0;
}

void agent_rehearse(struct agent *a, struct agent_fleet *f, struct agent_member *m)
{
    char error[900] = "";
    uint64_t bytes = 0, begun = agent_now_ms();
    struct guest g = {.watch.callback = -1};
    bool in_order;
    if (m->rehearsed) {
        return;
    }
    m->rehearsed = true;
    if (has_ready_state(m->name)) {
        return;
    }
    int rc = guest_start_from(&a->host, m->name, 0, GUEST_FROM_BOOT, &g, error, sizeof error);
    rc = rc ? rc : guest_wait(&a->host, &g, REHEARSAL_S, NULL, error, sizeof error);
    double ms = (double)(agent_now_ms() - begun);
    rc = rc ? rc : guest_save_ready(&a->host, m->name, &bytes, error, sizeof error);
    if (rc) {
        agent_log("%s: %s sleeps without a ready state: %s", f->name, m->name, error);
        guest_stop(&a->host, m->name, STOP_S, NULL, &in_order, error, sizeof error);
    } else {
        guest_note_start(&g, ms);
        agent_log("%s: %s sleeps; its ready state has %.1f MB", f->name, m->name,
                  (double)bytes / 1048576);
    }
    guest_free(&a->host, &g);
    m->was_active = false;
    m->down_ms = 0;
}
