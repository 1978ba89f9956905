// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HAProxy's runtime socket: commands, and its statistics (management.txt, 9.1 and 9.3).
//
// Errors as in spec.h. Every exchange ends within PROXY_WAIT_MS. Threads: any; each call has its
// own connection.
#ifndef TESSERA_FLEET_PROXY_RUNTIME_H
#define TESSERA_FLEET_PROXY_RUNTIME_H

#include "hypercall/host/machine/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROXY_WAIT_MS = 2000, PROXY_MOST_ANSWER = 8 << 20 };

// Sends one command (without line end) to folder/haproxy.sock and reads the answer, without the
// empty line at its end. The caller frees *answer. -ECONNREFUSED, -ENOENT: none runs there.
// -ETIMEDOUT.
int proxy_command(const char *folder, const char *command, char **answer, char *error,
                  size_t error_bytes);
// Runs what proxy_sync wrote, a connection each. Goes on after a refusal; *refused counts them and
// `error` has the first. Returns a negative errno only when HAProxy cannot be reached.
int proxy_run_commands(const char *folder, const char *commands, size_t *refused, char *error,
                       size_t error_bytes);

// ---- statistics --------------------------------------------------------------------------------

enum proxy_row_type { PROXY_ROW_FRONTEND, PROXY_ROW_BACKEND, PROXY_ROW_SERVER, PROXY_ROW_LISTENER };
enum proxy_health {
    PROXY_DOWN, // or going up, or not checked
    PROXY_UP,   // or going down
    PROXY_DRAINING,
    PROXY_MAINT
};
struct proxy_row {
    char backend[64], server[64]; // pxname, svname
    enum proxy_row_type type;
    enum proxy_health health;
    bool backup;                                 // only the wake listener is one
    uint32_t port;                               // of a server, 0: no such address
    uint64_t queued;                             // qcur
    uint64_t sessions;                           // scur: requests that run now
    uint64_t requests;                           // stot
    uint64_t responses;                          // hrsp_2xx … hrsp_other together
    uint64_t errors_5xx;                         // hrsp_5xx
    uint64_t errors_connection, errors_response; // econ, eresp
    uint64_t retries, redispatches;              // wretr, wredis
    uint64_t latency_ms;                         // ttime: average of the last 1024 requests
    uint64_t weight;                             //
    uint64_t last_session_s; // lastsess: seconds since the last one, UINT64_MAX: none yet
    uint64_t changed_s;      // lastchg: seconds since health or state changed
};
// The text of `show stat` (CSV with its "# pxname,…" line; columns are found by name). The caller
// frees *rows. -EPROTO: no such text.
int proxy_stats_parse(const char *csv, size_t bytes, struct proxy_row **rows, size_t *count,
                      char *error, size_t error_bytes);
int proxy_stats(const char *folder, struct proxy_row **rows, size_t *count, char *error,
                size_t error_bytes);
// A member's rows added up: that of its slot's back end, and that of the other's where it stands
// in. false: none there. health: the better of the two.
bool proxy_member_row(const struct proxy_row *rows, size_t count, const char *member,
                      struct proxy_row *sum);

#endif
