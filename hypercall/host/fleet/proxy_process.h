// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The HAProxy of a fleet: one master and its workers, found by what they were started with, so that
// no file has to be believed.
//
// Errors as in spec.h. Every function ends within PROXY_START_MS or what it is given.
#ifndef TESSERA_FLEET_PROXY_PROCESS_H
#define TESSERA_FLEET_PROXY_PROCESS_H

#include "hypercall/host/fleet/proxy.h"

#include <sys/types.h>

enum { PROXY_START_MS = 10000 };

// haproxy's path: $TESSERA_HAPROXY, in PATH, or in /usr/sbin. -ENOENT with the command that
// installs it.
int proxy_program(char *out, size_t out_bytes, char *error, size_t error_bytes);
// The master of this folder's HAProxy; 0: none runs.
pid_t proxy_master(const char *folder);

// Its workers. More than one: an earlier configuration's requests still run, of which the
// statistics of the new one do not tell (so that "no session" does not yet mean that a guest is
// idle).
unsigned proxy_workers(const char *folder);

// Makes HAProxy run with these files: starts it when none runs (what a dead master left is ended
// first); reloads it without refusing a connection when `structure` changed; writes the files in
// any case. *done says which. A configuration that HAProxy refuses (-EINVAL, with its words), or an
// address that is taken (-EADDRINUSE), leaves the running one as it is.
enum proxy_done { PROXY_UNCHANGED, PROXY_STARTED, PROXY_RELOADED };
int proxy_apply(const struct proxy_files *f, const char *folder, enum proxy_done *done, char *error,
                size_t error_bytes);
// Lets running requests end for up to grace_ms, then ends it. Also ends workers without a master.
// Nothing of the folder's HAProxy runs after; none there is fine. Its files stay.
int proxy_stop(const char *folder, unsigned grace_ms, char *error, size_t error_bytes);
// Removes the folder with what we wrote into it.
int proxy_remove_folder(const char *folder, char *error, size_t error_bytes);
// Does something else listen on the endpoint's address now? (Ours does not count: ask only when
// proxy_master is 0.)
bool proxy_port_is_taken(const char *host, uint32_t port);

#endif
