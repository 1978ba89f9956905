// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is to become of a service's guests: who stays, who is started, who goes, how many come.
// Pure: the same answer whenever it is asked, by whichever agent; what was begun (a guest that is
// being drained) is gone on with.
#ifndef TESSERA_FLEET_DECIDE_H
#define TESSERA_FLEET_DECIDE_H

#include "hypercall/host/fleet/deploy.h"

struct decide_member {
    char name[49], version[FLEET_VERSION];
    bool running;      // its domain is active
    bool healthy;      // the endpoint's checks say so
    bool leaving;      // drained at the endpoint, or asked to shut down
    bool may_start;    // its back-off is over
    uint64_t down_ms;  // running and not healthy for so long
    uint64_t requests; // that it answers now
};

enum decide_verdict {
    DECIDE_KEEP,    // runs: gets requests
    DECIDE_START,   // is off: start it
    DECIDE_WAIT,    // is off, its back-off runs
    DECIDE_REPLACE, // runs and does not get healthy: end it at once
    DECIDE_SLEEP,   // is off and stays defined: the one that wakes
    DECIDE_RETIRE   // drain it, shut it down, forget it
};
struct decide_answer {
    enum decide_verdict verdict;
    unsigned slot; // of the endpoint; outdated ones stand in the stable one
};

struct decide_wanted {
    uint32_t replicas;
    struct deploy_targets targets;
    char version[2][FLEET_VERSION]; // by slot; "": empty
    unsigned stable_slot;
    uint32_t start_ms; // that a guest may take until it is healthy
    bool sleeps;       // with no replicas one of the stable version stays, off
};

// answers[count]; create[slot]: how many new guests each slot needs now.
void decide(const struct decide_wanted *wanted, const struct decide_member *members, size_t count,
            struct decide_answer *answers, uint32_t create[2]);

#endif
