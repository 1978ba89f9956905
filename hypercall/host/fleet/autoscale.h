// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How many guests a service should have, by what they measure. Pure: the caller looks, the caller
// acts.
#ifndef TESSERA_FLEET_AUTOSCALE_H
#define TESSERA_FLEET_AUTOSCALE_H

#include <stdbool.h>
#include <stdint.h>

struct autoscale_limits {
    uint32_t min, max;
    double p95_ms;        // the latency not to exceed, 0: not looked at
    double queue;         // requests (waiting and running) a guest, 0: not looked at
    uint64_t cooldown_ms; // so long all must be below half before one guest goes
    uint64_t idle_ms;     // without any request for so long: to zero, where min is 0
};

struct autoscale_seen {
    uint32_t replicas; // as decided last
    uint32_t ready;    // that serve now
    double p95_ms;     // of the requests that ended lately, negative: none did
    double load;       // requests waiting and running, of all guests
    bool requests;     // one came, or one is there, since the last look
    bool wake;         // one waits and no guest is there
};

struct autoscale_state { // zeroed at first; what is lost with it is time
    uint64_t low_ms;     // all below half since, 0: is not
    uint64_t up_ms;      // the last time that it grew
    uint64_t request_ms; // the last time that a request was seen, 0: not yet looked
    uint64_t down_ms;    // the last time that one went by too little load
    uint64_t regret_ms;  // the last time that growth followed soon on that
    uint32_t regrets;    // each doubles the cool-down
};

// The number of guests from now on, in [min, max]; `why` (may be NULL) gets words for a log when it
// differs from seen->replicas.
uint32_t autoscale_decide(const struct autoscale_limits *limits, const struct autoscale_seen *seen,
                          struct autoscale_state *state, uint64_t now_ms, const char **why);

#endif
