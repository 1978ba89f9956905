// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The server's side of ivshmem for one guest, where the server itself is the other peer.
// Source: QEMU docs/specs/ivshmem-spec, "Server-client protocol".
#ifndef CALL_FLOOR_SERVER_H
#define CALL_FLOOR_SERVER_H

#include "ci/bench/call_floor/region.h"

struct server {
    int listener, client;                          // -1: none
    int memory;                                    // memfd of FLOOR_BYTES, sealed in size
    int host[FLOOR_VECTORS], guest[FLOOR_VECTORS]; // eventfds by the side they wake
    struct floor_region *region;
};

// Makes the region and its eventfds and listens at `path`. 0 or -errno; nothing is left open then.
int server_open(struct server *s, const char *path);
// Waits for QEMU to connect and hands it everything. 0, -ETIMEDOUT or another -errno.
int server_accept(struct server *s, int timeout_ms);
// Whether QEMU has hung up.
int server_is_gone(const struct server *s);
void server_close(struct server *s);

#endif
