// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Processes of HAProxy: finding them in /proc, starting one, its log. Private to proxy_process.c.
#ifndef TESSERA_FLEET_PROXY_LAUNCH_H
#define TESSERA_FLEET_PROXY_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LAUNCH_LOG "haproxy.log"
enum { LAUNCH_MOST = 64 };

// Processes of this user that were started with `-f folder/haproxy.cfg`. The master leads a session
// of its own, and its workers stay in that. Returns how many; *master (may be NULL) 0: none.
size_t launch_find(const char *folder, pid_t *pids, size_t most, pid_t *master);
// `haproxy -c`: 0 good; otherwise `words` has what it says.
int launch_check(const char *program, const char *folder, unsigned most_ms, char *words,
                 size_t words_bytes);
// Starts a master, detached, its messages in folder/haproxy.log. *log_from: where they begin.
int launch_start(const char *program, const char *folder, long *log_from, char *error,
                 size_t error_bytes);
long launch_log_bytes(const char *folder);
// The first alert in the log from there on. False: none.
bool launch_log_alert(const char *folder, long from, char *words, size_t words_bytes);

#endif
