// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of the endpoint share.
#ifndef TESSERA_FLEET_PROXY_PRIVATE_H
#define TESSERA_FLEET_PROXY_PRIVATE_H

#include "hypercall/host/fleet/proxy.h"
#include "hypercall/host/fleet/proxy_runtime.h"

#define PROXY_STRUCTURE "TESSERA_STRUCTURE" // in HAProxy's environment: proxy_files.structure

// "SERVICE.a" or "SERVICE.b".
void proxy_backend(const char *service, unsigned slot, char out[PROXY_BACKEND]);

// A server that a back end is to have.
struct proxy_server {
    char backend[PROXY_BACKEND];
    const struct proxy_member *member;
    bool stands_in; // of the other slot
    bool is_up;     // known to be
};
// All of them; the caller frees. rows: NULL, of a HAProxy that is to be started: what is known to
// be up counts. -ENOMEM.
int proxy_servers(const struct proxy_input *in, const struct proxy_row *rows, size_t row_count,
                  struct proxy_server **out, size_t *count);
const struct proxy_row *proxy_find_row(const struct proxy_row *rows, size_t count,
                                       const char *backend, const char *server);
// "check inter …": what stands behind a server's address.
void proxy_server_options(const struct fleet_health *h, struct text *out);

// The maps that the runtime socket changes: each service's (and for PROXY_HEALTH "*", the fleet's)
// value, in the order of the specification. `say` hears of each.
typedef void proxy_say_fn(void *context, enum proxy_file_name map, const char *key,
                          const char *value);
void proxy_maps(const struct proxy_input *in, const struct proxy_server *servers, size_t count,
                proxy_say_fn *say, void *context);

// haproxy.cfg; without servers: what its structure is.
void proxy_configuration(const struct proxy_input *in, const struct proxy_server *servers,
                         size_t count, struct text *out);

#endif
