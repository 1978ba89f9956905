// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet as it is now: the record, its guests as libvirt shows them, its endpoint as HAProxy's
// statistics show it, and what the agent has to say. For `status`, and for commands that wait.
//
// Error handling: 0 or a negative errno, with a message for people in `error`.
#ifndef TESSERA_FLEET_VIEW_H
#define TESSERA_FLEET_VIEW_H

#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/plan.h"
#include "hypercall/host/fleet/proxy_runtime.h"

struct view_service {
    char name[FLEET_SERVICE];
    uint32_t wanted;   // guests, of all its versions
    uint32_t present;  // that are there, but for those asleep
    uint32_t asleep;   // off, for the request that wakes it: as it is wanted
    uint32_t ready;    // of wanted versions, that serve
    uint32_t outdated; // of versions that are to go
    double p95_ms;     // since their start, of all that serve; -1: none, or not measured
    double requests;   //
};
struct fleet_view {
    struct fleet_record record;
    struct carrier_guest *guests;
    size_t guest_count;
    struct fleet_member *members; // beside guests
    struct proxy_row *rows;
    size_t row_count;
    bool endpoint_runs, agent_runs;
    uint32_t making; // guests that the agent makes now, which may not be among `guests` yet
    char folder[1024];
    struct view_service *services; // one a service of the record
    json_t *notes, *problems;      // the agent's; NULL: none
};

// measure: also ask the guests for their metrics (up to a second).
int fleet_view_take(virConnectPtr c, const char *uri, const char *fleet, bool measure,
                    struct fleet_view *out, char *error, size_t error_bytes);
void fleet_view_free(struct fleet_view *v);

// Everything is as it is wanted, and stays so: no deployment runs. Services with one that began
// before `since_ms` (UNIX time) need only have as many guests that serve as they should.
bool fleet_view_settled(const struct fleet_view *v, int64_t since_ms);
// "chat 2 of 3 ready, code 1 of 2 ready, canary 10 %": one line for people who wait.
void fleet_view_summary(const struct fleet_view *v, struct text *out);
json_t *fleet_view_to_json(const struct fleet_view *v);

#endif
