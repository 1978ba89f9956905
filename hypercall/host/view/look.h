// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// All guests of a connection at one moment: what libvirt says, what each says of itself over HTTP,
// and what its QEMU takes of this machine. Two moments give rates.
//
// Error handling: 0 or a negative errno and a message in `error`. A guest that does not answer is
// no error: its state says so. Nothing waits longer than about a second for guests.
#ifndef TESSERA_VIEW_LOOK_H
#define TESSERA_VIEW_LOOK_H

#include "hypercall/host/machine/machine.h"
#include "hypercall/host/view/metrics.h"

#include <jansson.h>
#include <libvirt/libvirt.h>

struct view_guest {
    char name[64], uuid[VIR_UUID_STRING_BUFLEN];
    // "running", "loading", "unhealthy", "paused", "stopping", "off", "suspended", "crashed",
    // "flapping", "gone"
    char state[16];
    char why[200]; // of "unhealthy", and what the agent of fleets notes; "" otherwise
    char url[128]; // "" while it has no address
    struct machine_facts facts;
    bool active, persistent, autostart;
    unsigned vcpus;
    uint64_t memory_mb, cpu_ns;
    uint64_t rss_kb, pss_kb; // of QEMU; 0: not known
    uint64_t began_ns;       // on the clock of `at_ns`, 0: not known
    int health, answered;    // HTTP status of /health and /metrics, 0: none
    struct view_metrics metrics;
};

struct view {
    uint64_t at_ns; // CLOCK_MONOTONIC
    size_t count;
    struct view_guest *guests; // by name
};

// only: this guest alone (-ENOENT: not there), NULL: all of ours. local: QEMU's processes are on
// this machine. ca_file as of base/http.h. *out is to be freed by view_free, also after an error.
int view_look(virConnectPtr c, const char *only, bool local, struct view *out, char *error,
              size_t error_bytes);
void view_free(struct view *v);
// What the agent of fleets notes of its members ({"NAME": "flapping: ended 6 times; ..."}).
void view_take_notes(struct view *v, const json_t *notes);
// The same guest in an earlier view, NULL: it was not there, or is another one by that name.
const struct view_guest *view_earlier(const struct view *before, const struct view_guest *g);

struct view_rates {
    double cpu_percent;                     // of one CPU: 200 are two busy ones
    double tokens, prompt_tokens, requests; // a second
    double p50_ms, p95_ms, first_token_ms;  // of requests that ended in between; < 0: none did
};
// NULL or a guest that began anew in between: 0 and none.
void view_rate(const struct view *before, const struct view *now, const struct view_guest *g,
               struct view_rates *out);

#endif
