// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of the agent share. One thread does all of it; libvirt's events only wake it, and
// what takes long with one guest is a job in a thread of its own (agent_jobs.c).
#ifndef TESSERA_FLEET_AGENT_PARTS_H
#define TESSERA_FLEET_AGENT_PARTS_H

#include "hypercall/host/fleet/agent.h"
#include "hypercall/host/fleet/autoscale.h"
#include "hypercall/host/fleet/backoff.h"
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/decide.h"
#include "hypercall/host/fleet/measure.h"
#include "hypercall/host/fleet/proxy.h"
#include "hypercall/host/fleet/proxy_runtime.h"
#include "hypercall/host/guest/guest.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    AGENT_TICK_MS = 500,
    AGENT_HURRY_MS = 50, // while a request waits for a guest
    AGENT_HELD = 256,    // requests that wait, for each listener
    AGENT_HOLD_MS = PROXY_HOLD_MS,
    AGENT_SHUTDOWN_MS = 10000, // for a guest to power off
    AGENT_JOBS = 16,           // guests that are made or started at once; fewer on few CPUs
    AGENT_JOBS_END_MS = 5000,  // for them, when the agent ends
    AGENT_USUAL_SHARES = 1024, // fleet.yaml's default priority, and libvirt's
    AGENT_FIRST_PORT = 9100,   //
    AGENT_SHELF = 512,         // listeners that outlive a process
    AGENT_PROBLEMS = 8,        // kept for `status`
    AGENT_MEASURE_MS = 1000,   // between looks at guests' metrics
    AGENT_WINDOW_MS = 15000,   // half of what the 95th percentile is of
    AGENT_IDLE_EXIT_MS = 30000 //
};

struct agent;
struct agent_shelf;

// ---- agent_pair.c ------------------------------------------------------------------------------

void agent_catch_signals(void);
bool agent_is_ending(void);
bool agent_read_descriptors(const char *text, int *lock, int *link);
// Starts the other process with a socket between both.
int agent_spawn(const char *uri, bool worker, bool idle_exit, int lock, int *link, pid_t *pid);

// ---- agent_shelf.c -----------------------------------------------------------------------------

// Messages between both processes: 'w' a listener (path, fd), 'x' no listener any more (path), 'd'
// these were all, 'q' the end is wanted.
void agent_link_send(int link, char letter, const char *path, int fd);
void agent_link_send_shelf(int link, const struct agent_shelf *s);
// One message, its listener put on the shelf. The letter; 0: none there; -1: the other one ended.
int agent_link_receive(int link, struct agent_shelf *s);
// All up to 'd', at most two seconds.
void agent_link_receive_shelf(int link, struct agent_shelf *s);
// From the shelf; -1: none. To the shelf and the other process; fd -1: no longer.
int agent_take_listener(struct agent *a, const char *path);
void agent_lend_listener(struct agent *a, const char *path, int fd);

// ---- agent_log.c -------------------------------------------------------------------------------

void agent_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t agent_now_ms(void); // monotonic
int64_t agent_time_ms(void); // UNIX
void agent_sleep_ms(long ms);

// ---- what is remembered; lost with the process, and found again --------------------------------

struct agent_member {
    char name[64];
    bool present; // at this look
    struct backoff backoff;
    bool known;           // seen before
    bool rehearsed;       // its ready state was saved, or could not be
    enum guest_from from; // how it was started, at start_ms; 0: not by this process
    uint64_t start_ms;
    bool was_active, healthy;
    uint64_t down_ms, drain_ms, shutdown_ms; // since; 0: is not
    struct measure now, base, older;         // of its metrics: older is a window ago
    bool measured, has_base, has_older;
    char why[300]; // it could not be started, "": it could
};

struct agent_wake { // a listener where the endpoint sends requests that nobody can take
    char path[108];
    int listener;
    struct {
        int fd;
        uint64_t since_ms;
    } held[AGENT_HELD];
    unsigned count;
};

// Guests of one version: what it meets must not hold up another's, which may be the cure.
struct agent_making {
    char version[FLEET_VERSION];
    struct backoff backoff; // they cannot be made
    uint64_t failed_ms;     // when that was seen last
    char why[300];          // "": they can
    bool made;              // one was made: more are made at once
};

struct agent_service {
    char name[FLEET_SERVICE];
    struct agent_making making[2]; // by slot: agent_making
    struct agent_wake wake[2];
    struct autoscale_state scale;
    uint64_t measured_ms, window_ms;
    uint64_t requests;             // the endpoint's counter at the last look
    char deploying[FLEET_VERSION]; // the version that a deployment brings, "": none
    int64_t deployment_ms;         // when it began
    uint32_t failures;             // of guests of it
    double load, p95_ms;           // as measured last
};

struct agent_fleet {
    char name[FLEET_NAME], folder[PATH_MAX];
    bool present;
    bool stale, again; // the record is another by now; by our own commit: look again at once
    struct agent_member *members;
    size_t member_count;
    struct agent_service *services;
    size_t service_count;
    char problems[AGENT_PROBLEMS][300]; // of this look
    char logged[AGENT_PROBLEMS][300];   // of the last one
    size_t problem_count, logged_count;
};

struct agent_shelf { // listening sockets that both processes hold
    struct {
        char path[108];
        int fd;
    } item[AGENT_SHELF];
    unsigned count;
};

enum agent_job_kind { AGENT_MAKE, AGENT_START, AGENT_REHEARSE, AGENT_DESTROY };
struct agent_job {
    enum agent_job_kind kind;
    char fleet[FLEET_NAME], service[FLEET_SERVICE], version[FLEET_VERSION], name[64];
    unsigned slot;     // AGENT_MAKE: of the service in `record`, the fleet's as text
    char *record;      //
    uint32_t failures; // of the guest, when it began
    uint32_t start_s;  // that fleet.yaml gives its model to serve
    uint64_t begun_ms;
    bool slow;
    const char *uri;
    struct guest_host host; // lent by the agent; libvirt NULL: the thread connects
    int events;
    pthread_t thread;
    volatile int hurry; // by the loop: end early
    atomic_bool done;   // by the thread, with release: what follows is set
    int rc;
    enum guest_from from;
    bool stays;   // AGENT_REHEARSE: it was in a hurry, and the guest runs
    bool removed; // AGENT_START: nobody could ever start it
    uint64_t state_bytes;
    char error[900];
};

struct agent {
    struct agent_shelf shelf;
    struct agent_job *jobs[AGENT_JOBS];
    size_t job_count;
    struct guest_host idle[AGENT_JOBS]; // connections for jobs to come
    size_t idle_count;
    const char *uri;
    bool idle_exit;
    int lock, link, control, events;
    struct guest_host host;
    bool connected;
    uint64_t retry_ms; // for libvirt to answer again
    struct agent_fleet *fleets;
    size_t fleet_count;
    uint64_t idle_ms; // without fleets since
    pid_t supervisor;
};

// ---- agent_state.c -----------------------------------------------------------------------------

// NULL: no memory.
struct agent_fleet *agent_fleet(struct agent *a, const char *name);
struct agent_service *agent_service(struct agent_fleet *f, const char *name);
struct agent_member *agent_member(struct agent_fleet *f, const char *name);
// A guest of this version ended by itself or did not start.
void agent_failed(struct agent_fleet *f, const char *service, const char *version);
void agent_forget_absent(struct agent *a);
void agent_forget_members(struct agent_fleet *f); // that are not present
// Begins anew where the slot's version is another by now.
struct agent_making *agent_making(struct agent_service *s, unsigned slot, const char *version);
void agent_problem(struct agent_fleet *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void agent_log_problems(struct agent_fleet *f);

// ---- agent_wake.c ------------------------------------------------------------------------------

int agent_wake_listen(struct agent *a, struct agent_wake *w, const char *folder,
                      const char *service, unsigned slot);
void agent_wake_close(struct agent *a, struct agent_wake *w);
// Takes new connections, drops those that are gone.
void agent_wake_look(struct agent_wake *w, uint64_t now_ms);
// Lets all go: the endpoint then asks again.
void agent_wake_release(struct agent_wake *w);
// Answers all that nobody will come.
void agent_wake_refuse(struct agent_wake *w);

// ---- agent_control.c ---------------------------------------------------------------------------

struct agent_clients;
int agent_control_open(const char *uri, int *out, char *error, size_t error_bytes);
struct agent_clients *agent_clients_new(void);
void agent_clients_free(struct agent_clients *c);
// Descriptors to poll; at most `most`.
struct pollfd;
size_t agent_clients_poll(struct agent_clients *c, struct pollfd *out, size_t most);
// *poke, *stop: were asked for.
void agent_clients_look(struct agent_clients *c, struct agent *a, bool *poke, bool *stop);

// ---- agent_scrape.c ----------------------------------------------------------------------------

// /metrics of all at once, at most 700 ms. ok[i]: out[i] is set.
void agent_scrape(const uint32_t *ports, size_t count, const char *key, struct measure *out,
                  bool *ok);

// ---- agent_jobs.c ------------------------------------------------------------------------------

// Begins a job like `wanted` (kind, names, slot and record are copied). slow: it may take long, and
// leaves room for others. False: no room now, or no memory.
bool agent_job_begin(struct agent *a, const struct agent_job *wanted, bool slow);
struct agent_job *agent_job_of(const struct agent *a, const char *guest); // NULL: none
size_t agent_jobs_making(const struct agent *a, const char *fleet);
// Those that make a guest and were told to end early do not count: what one makes yet is an
// orphan's guest, which goes.
bool agent_has_jobs(const struct agent *a, const char *fleet);
void agent_jobs_hurry(struct agent *a, const char *fleet); // all of a fleet are to end early
// Before a look: what ended is remembered.
void agent_jobs_take(struct agent *a);
// Waits for their end. False: some still run.
bool agent_jobs_end(struct agent *a, long ms);

// ---- agent_make.c: in a job's thread; 0 or a negative errno with j->error
// ------------------------

int agent_make(struct guest_host *h, struct agent_job *j);
int agent_start(struct guest_host *h, struct agent_job *j); // 0 also if it runs already
// A guest that is to sleep, which is off: booted once more, and saved before any request.
int agent_rehearse(struct guest_host *h, struct agent_job *j);
int agent_destroy(struct guest_host *h, struct agent_job *j);

// ---- agent_converge.c, agent_act.c -------------------------------------------------------------

struct agent_look { // at one fleet
    struct fleet_record record;
    bool orphaned; // guests without a carrier: they are to go
    struct carrier_guest *guests;
    size_t guest_count;
    struct proxy_row *rows;
    size_t row_count;
    struct decide_member *seen;    // beside guests
    struct decide_answer *answers; // beside guests
    struct agent_member **members; // beside guests
    struct proxy_share *shares;    // one a service
    uint32_t (*create)[2];         // one a service
};
void agent_converge(struct agent *a, struct agent_fleet *f);
void agent_look_free(struct agent_look *l);
// How long a start took until the guest served: by it the next one boots or begins in the ready
// state, whichever is faster.
void agent_note_start(struct agent_member *m, uint64_t now);
bool agent_has_ready_state(const char *name);
// Guests made, started, ended as decided.
void agent_act(struct agent *a, struct agent_fleet *f, struct agent_look *l);
// HAProxy as decided.
void agent_route(struct agent *a, struct agent_fleet *f, struct agent_look *l);
// Deployments and autoscale: what they change in the record is committed; then f->again is set.
void agent_course(struct agent *a, struct agent_fleet *f, struct agent_look *l);

// A change of the record, if it is still the one that was looked at. -EAGAIN: it is not.
int agent_commit(struct agent *a, struct fleet_record *r, char *error, size_t error_bytes);

#endif
