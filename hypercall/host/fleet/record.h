// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's record: all of its desired state as one JSON text, which the carrier (a shut-off domain
// named FLEET.fleet) holds in its metadata. Replacing that text is the commit point of every
// command.
//
// Slots: a service has two, a and b (0 and 1). One is the *stable* one; the other is empty or holds
// what a deployment or fleet.yaml's canary brings up. The endpoint chooses a slot first (by
// X-Tessera-Version, or by `share`), then a guest of it. Promotion makes the other slot the stable
// one: nothing moves.
//
// Errors as in spec.h.
#ifndef TESSERA_FLEET_RECORD_H
#define TESSERA_FLEET_RECORD_H

#include "hypercall/host/fleet/spec.h"

#define FLEET_RECORD_NAMESPACE "urn:tessera:fleet:1"
enum { FLEET_RECORD_MOST_BYTES = 1 << 20, FLEET_KEY = 65 };

enum fleet_strategy { FLEET_ROLLING, FLEET_CANARY, FLEET_BLUE_GREEN };
enum fleet_phase {
    FLEET_STARTING,     // the new version's (first) guests come up
    FLEET_SHIFTING,     // they get a part of the requests, or replace the old ones one by one
    FLEET_PROMOTING,    // all requests go to the new version; the old one is drained
    FLEET_DONE,         // the new version is the service's
    FLEET_ROLLING_BACK, // no new request goes to the new version; it is drained
    FLEET_ROLLED_BACK,  // `reason` says why
};

enum { FLEET_MOST_STEPS = 16 };
struct fleet_limits {
    double error_rate;    // of the new version's answers, 0 … 1
    double latency_ratio; // its mean against the old one's
    uint32_t requests;    // no verdict before so many
    uint32_t step_ms;     // how long a step is watched
    uint32_t ready_ms;    // its guests must be up by then
};
extern const struct fleet_limits fleet_default_limits;

struct fleet_deployment {
    enum fleet_strategy strategy;
    enum fleet_phase phase;
    char from[FLEET_VERSION], to[FLEET_VERSION];
    struct fleet_variant variant; // of `to`
    size_t step_count;
    uint32_t steps[FLEET_MOST_STEPS], step; // per cent of the requests, ascending; the current one
    uint32_t weight;                        // per cent that `to` gets now
    int64_t started_ms, since_ms;           // UNIX time: of the deployment, of the phase or step
    struct fleet_limits limits;
    bool hold; // goes no further by itself after the first step: waits for --promote
    char reason[256];
    // Counters of both versions when the step began, so that evaluation survives the agent.
    struct fleet_counters {
        uint64_t requests, errors, total_ms;
    } base_from, base_to;
};

struct fleet_service {
    char name[FLEET_SERVICE];
    bool has_replicas;
    uint32_t replicas;    // set by `scale` or autoscale; otherwise the specification's
    unsigned stable_slot; // 0 or 1
    int64_t scaled_ms;    // UNIX time of the last change by autoscale, 0: none
    bool has_deployment;
    struct fleet_deployment deployment;
};

struct fleet_record {
    uint64_t generation;          // grows with every commit
    char internal_key[FLEET_KEY]; // of the guests' API; letters and digits
    int64_t owner;                // user id; -1: of a version that did not note it
    // The carrier's: the file of this key and the endpoint's listed ones; whether it can be read.
    char key_file[FLEET_PATH];
    bool keys_unknown;
    bool down; // `tessera down`: members are to go, then the carrier
    struct fleet_spec spec;
    size_t service_count; // one a model of the specification, in its order
    struct fleet_service *services;
};
void fleet_record_free(struct fleet_record *r);

// A new fleet's: generation 1, a random key, this user's. Takes *spec over (zeroed after).
int fleet_record_new(struct fleet_spec *spec, struct fleet_record *out, char *error,
                     size_t error_bytes);
// Takes a new specification over; state of services that stay is kept, other services' is dropped.
// With the variant of each model as `spec` says: callers who deploy it instead put the old one
// back.
int fleet_record_respecify(struct fleet_record *r, struct fleet_spec *spec, char *error,
                           size_t error_bytes);
// One line of JSON; the caller frees. NULL: no memory.
char *fleet_record_print(const struct fleet_record *r);
// -EINVAL: not a record, or one of a later version of the tool. On failure *out is zeroed.
int fleet_record_parse(const char *text, size_t bytes, struct fleet_record *out, char *error,
                       size_t error_bytes);

// Where users share a connection (qemu:///system), each changes their own fleets only.
bool fleet_is_own(const struct fleet_record *r);
struct fleet_service *fleet_service(const struct fleet_record *r, const char *name);
// Replicas wanted now of a service's main version.
uint32_t fleet_replicas(const struct fleet_record *r, const char *service);

// The versions that a service has now, by slot: what runs in which, and what part of the requests
// without X-Tessera-Version each gets.
struct fleet_slot {
    const struct fleet_variant *variant; // NULL: the slot is empty
    char version[FLEET_VERSION];
    bool stable;
    uint32_t share; // of 10000
};
// Follows the deployment's phase: STARTING 0, SHIFTING `weight`, PROMOTING all, ROLLING_BACK none.
// A rolling deployment's share is the caller's to set (by the guests that are ready); 0 here. A
// canary of the specification has the other slot while no deployment runs.
void fleet_slots(const struct fleet_record *r, const char *service, struct fleet_slot out[2]);
const char *fleet_strategy_name(enum fleet_strategy s);
const char *fleet_phase_name(enum fleet_phase p);

#endif
