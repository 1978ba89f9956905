// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests that sleep: of a model that nobody asks, one stays defined and off. It is booted once more
// for its ready state, so that the request that wakes it need not wait for a boot where that takes
// longer.
#include "hypercall/host/fleet/agent_parts.h"
#include "hypercall/host/machine/record.h"

#include <unistd.h>

void agent_note_start(struct agent_member *m, uint64_t now)
{
    struct guest g = {.from = m->from};
    if (m->start_ms) {
        snprintf(g.name, sizeof g.name, "%s", m->name);
        guest_note_start(&g, (double)(now - m->start_ms));
        m->start_ms = 0;
    }
}

bool agent_has_ready_state(const char *name)
{
    char path[PATH_MAX], unused[300];
    return record_path(name, RECORD_READY, false, path, sizeof path, unused, sizeof unused) == 0 &&
           access(path, F_OK) == 0;
}
