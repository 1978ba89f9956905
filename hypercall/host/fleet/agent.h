// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent of fleets: one for a user and a libvirt connection. It makes true what records say, and
// holds nothing that it could not find again. Two processes watch each other: the supervisor starts
// the worker anew, and the worker the supervisor; both hold one lock, so that there is one pair.
//
// Its control socket takes one JSON object a line and answers each with one:
//   {"op":"ping"}                   {"ok":true,"pid":N,"version":1}
//   {"op":"poke"}                   {"ok":true}: the loop looks now
//   {"op":"status","fleet":NAME}    {"ok":true,"notes":{MEMBER:TEXT},"problems":[TEXT],
//                                    "making":N}: guests that are being made
//   {"op":"stop"}                   {"ok":true}: the pair ends; guests and endpoints go on
// Errors: {"ok":false,"error":TEXT}.
//
// Error handling: 0 or a negative errno, with a message for people in `error`.
#ifndef TESSERA_FLEET_AGENT_H
#define TESSERA_FLEET_AGENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { AGENT_LINE = 256 << 10, AGENT_START_MS = 10000, AGENT_ANSWER_MS = 10000 };

// ---- for commands ------------------------------------------------------------------------------

// One request, one answer (a new reference, "ok" is true). -ENOENT, -ECONNREFUSED: none runs.
// -ETIMEDOUT: it is busy. -EIO: it refused, with its words.
int agent_ask(const char *uri, json_t *request, json_t **answer, char *error, size_t error_bytes);
// Makes sure that one runs: starts it detached when none answers, with its messages in a log file.
// *started: (may be NULL) it was not there.
int agent_ensure(const char *uri, bool *started, char *error, size_t error_bytes);
// Lets it look at once; where none runs, nothing happens.
void agent_poke(const char *uri);

// ---- its processes -----------------------------------------------------------------------------

// The whole agent, in the foreground until a signal; with idle_exit also until there has been no
// fleet for a while. -EALREADY: another one runs; with `wait` it waits for that one's end instead.
int agent_run(const char *uri, bool idle_exit, bool wait, char *error, size_t error_bytes);
// What the two processes are started as, by the other one: "LOCK,LINK" are descriptors.
int agent_supervise(const char *uri, const char *descriptors, bool idle_exit);
int agent_work(const char *uri, const char *descriptors, bool idle_exit);

#endif
