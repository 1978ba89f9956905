// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A deployment's course: how many guests of which version, and when it goes on, is done, or is
// rolled back. Pure: the state is the record's, what is seen comes from the caller, who commits the
// record after every change.
//
// STARTING -> SHIFTING -> PROMOTING -> DONE; from each of the first three to ROLLING_BACK ->
// ROLLED_BACK. `from` is the version of the stable slot, `to` that of the other.
#ifndef TESSERA_FLEET_DEPLOY_H
#define TESSERA_FLEET_DEPLOY_H

#include "hypercall/host/fleet/record.h"

struct deploy_seen {
    uint32_t replicas;               // wanted of the service
    uint32_t from_alive, from_ready; // guests that are there (also draining), that serve
    uint32_t to_alive, to_ready;     //
    uint64_t to_waiting_ms;          // the longest that one of `to` has run without serving
    uint32_t to_failures; // times that guests of `to` ended by themselves or did not start
    struct fleet_counters from, to; // the endpoint's counters; total_ms is not looked at
    double from_ms, to_ms;          // mean latency of the last requests, 0: none
};

struct deploy_targets {
    uint32_t stable, other; // guests
    uint32_t surge;         // so many above `replicas` may be there at a time
};

enum {
    DEPLOY_PATIENCE = 5, // times ready_ms, for guests that cannot even be made in time
    DEPLOY_FAILURES = 3, // of new guests: no version to go on with
    DEPLOY_LEAST_MS = 10 // latencies below are equal
};

bool deploy_is_running(const struct fleet_deployment *d);
// One look; true: *d has changed. DONE is entered only here: the caller then makes the other slot
// the stable one, in the same commit.
bool deploy_step(struct fleet_deployment *d, const struct deploy_seen *s, int64_t now_ms);
void deploy_targets(const struct fleet_deployment *d, const struct deploy_seen *s,
                    struct deploy_targets *out);
// Of 10000: what part of the requests `to` gets now.
uint32_t deploy_share(const struct fleet_deployment *d, const struct deploy_seen *s);

// By command. -EALREADY: it is over.
int deploy_promote(struct fleet_deployment *d, int64_t now_ms);
int deploy_roll_back(struct fleet_deployment *d, const char *reason, int64_t now_ms);

// "10,50" -> steps in ascending order, 100 is added. -EINVAL.
int deploy_parse_steps(const char *text, struct fleet_deployment *d);

#endif
