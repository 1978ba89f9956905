// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's HTTP endpoint: free ports, and what it answers.
#ifndef TESSERA_MACHINE_ENDPOINT_H
#define TESSERA_MACHINE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Can a server listen on port of this IPv4 address (NULL: 127.0.0.1) now?
bool endpoint_port_is_free(const char *address, uint32_t port);
// The first free one from `from` on, 0: none.
uint32_t endpoint_next_port(const char *address, uint32_t from);
// An IPv4 address that only this machine reaches; NULL is one.
bool endpoint_is_loopback(const char *address);

struct endpoint;
// base: "http://127.0.0.1:8080"; key: of the API, NULL or "": none. NULL: no memory.
struct endpoint *endpoint_new(const char *base, const char *key);
void endpoint_free(struct endpoint *e);
// GET path; *body is NUL-terminated, cut at 1 MB, and valid until the next call. Returns the HTTP
// status, or a negative errno when none came within two seconds.
int endpoint_get(struct endpoint *e, const char *path, const char **body);
// The message of an error that a guest answered: {"error":{"message":...}}; "" if it is none. What
// a terminal must not see becomes '?'.
void endpoint_message(const char *body, char *out, size_t out_bytes);

#endif
