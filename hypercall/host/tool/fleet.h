// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the commands of fleets share. Each changes the record in one step, under the lock, and
// leaves the rest to the agent; those that wait only look.
#ifndef TESSERA_TOOL_FLEET_H
#define TESSERA_TOOL_FLEET_H

#include "hypercall/host/fleet/agent.h"
#include "hypercall/host/fleet/deploy.h"
#include "hypercall/host/fleet/view.h"
#include "hypercall/host/guest/guest.h"
#include "hypercall/host/tool/tool.h"

struct fleet_tool {
    struct guest_host host; // connected
    int lock;               // of changes, -1: not held
};
// All return exit statuses, with a message printed.
int fleet_tool_open(struct fleet_tool *t, const char *uri);
void fleet_tool_close(struct fleet_tool *t);
// What fleet.yaml says, with the files that it names looked at.
int fleet_tool_spec(const struct fleet_tool *t, const char *path, struct fleet_spec *out);
int fleet_tool_resolve(const struct fleet_tool *t, struct fleet_variant *v);
struct fleet_changes { // NULL and 0: as it was
    const char *model, *image, *memory, *settings;
    uint32_t vcpus;
};
// Changes *v and looks at its files.
int fleet_tool_change(const struct fleet_tool *t, const struct fleet_changes *o,
                      struct fleet_variant *v);
// The record under the lock, to be changed and committed.
int fleet_tool_begin(struct fleet_tool *t, const char *fleet, struct fleet_record *out);
// Writes it, gives the lock back, makes sure that an agent runs, and lets it look.
int fleet_tool_commit(struct fleet_tool *t, struct fleet_record *r);
int fleet_tool_agent(struct fleet_tool *t);
// "shop" or "shop/chat": where both are wanted, or either.
int fleet_tool_split(const char *word, char fleet[FLEET_NAME], char service[FLEET_SERVICE]);
// The name of a fleet: itself, or that in a file of it.
int fleet_tool_name(const char *word, char fleet[FLEET_NAME]);

// Waits until done() says so, with one line a change. 0, or the exit status after `seconds` or an
// interrupt. done: 1 yes, 0 not yet, -1 it failed, with a message printed.
int fleet_tool_wait(struct fleet_tool *t, const char *fleet, uint32_t seconds,
                    int (*done)(void *context, const struct fleet_view *v), void *context);
int fleet_tool_settled(void *unused, const struct fleet_view *v);

#endif
