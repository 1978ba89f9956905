// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The holder: a small process that owns what must outlive a worker, and looks at nothing that a
// guest has written. QEMU never reconnects to an ivshmem server, so this is the process it knows.
// Everything here is for its single thread.
#ifndef TENSORD_HOLDER_H
#define TENSORD_HOLDER_H

#include "hypercall/host/tensord/link.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { HOLDER_GUESTS = 256, HOLDER_WEIGHTS = 64, HOLDER_CONTROLS = 16, CONTROL_LINE = 8192 };

// A place for one guest: one socket, one region at a time. Who connects to the socket is the guest.
struct seat {
    bool used;
    uint32_t number;
    char name[64];
    struct guest_policy policy;
    uint64_t region_bytes;
    char path[108];
    int listener;
    int machine; // QEMU's connection, -1: none
    int region;  // memfd, -1: none
    struct hc_host_page *page;
    int from_guest[HC_VECTOR_COUNT], to_guest[HC_VECTOR_COUNT];
};

struct held_weights {
    struct hc_identity identity;
    char path[PATH_MAX];
    int fd;
    uint64_t bytes;
};

struct control {
    int fd;           // -1: free
    bool ended;       // sends nothing more, and waits for the answer
    uint32_t request; // waits for the worker's statistics, 0: does not
    size_t filled;
    uint64_t used; // grows with each use of any
    char line[CONTROL_LINE];
};

struct holder_options {
    const char *dir;                     // sockets and logs; ours alone
    const char *control;                 // path of the control socket
    const char *store;                   // folder of SHA256[+packedN].gguf, NULL: none
    const char *metrics;                 // ADDRESS:PORT, NULL: none
    const char *audit;                   // file, NULL: DIR/audit.log
    uint32_t watchdog_s;                 // a worker that silent is ended, 0: never
    const char *const *worker_arguments; // passed on; ends with NULL
};

struct holder {
    struct holder_options options;
    struct seat seats[HOLDER_GUESTS];
    struct held_weights weights[HOLDER_WEIGHTS];
    uint32_t weights_count;
    struct control controls[HOLDER_CONTROLS];
    uint64_t control_uses;
    uint32_t next_number, next_request;
    int control_listener, metrics_listener, audit, signals;
    int link; // to the worker, -1: none runs
    pid_t worker;
    uint32_t epoch;
    uint64_t started_ms, pong_ms, ping_ms, restart_ms; // restart_ms: when, 0: not planned
    uint32_t quick_ends; // workers that ended soon after their start, one after the other
    bool stopping;
};

uint64_t holder_now_ms(void);

// seats.c: 0 or a negative errno, and a message for people.
int seat_add(struct holder *h, const char *name, uint64_t region_bytes,
             const struct guest_policy *policy, struct seat **out, char *error, size_t bytes);
void seat_remove(struct holder *h, struct seat *s);
struct seat *seat_find(struct holder *h, const char *name);
void seat_accept(struct holder *h, struct seat *s);   // somebody connects
void seat_lost(struct holder *h, struct seat *s);     // and is gone
void seat_announce(struct holder *h, struct seat *s); // to the worker
void seat_set_state(struct seat *s, enum hc_host_state state);

// control.c
int control_open(struct holder *h, char *error, size_t bytes);
void control_accept(struct holder *h);
void control_read(struct holder *h, struct control *c);
void control_text(struct holder *h, uint32_t request, const char *json);
// Those that wait for the worker are told that there is none.
void control_no_worker(struct holder *h);

// holder_weights.c
int held_add(struct holder *h, const char *path, struct held_weights **out, char *error,
             size_t bytes);
void held_announce(struct holder *h, const struct held_weights *w);
void held_want(struct holder *h, const struct hc_identity *identity);

// supervise.c
int worker_start(struct holder *h);
void worker_ended(struct holder *h, int status);

int holder_main(const struct holder_options *o);
// options.c: the whole program, holder or worker.
int tensord_main(int argc, char **argv);

#endif
