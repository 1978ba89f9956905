// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A process of the host plays a guest: it connects to an ivshmem server's socket as QEMU does, maps
// the region and offers the client's port by eventfds. For tests, benches and llm-native.
#ifndef HYPERCALL_GUEST_CONNECT_HOST_H
#define HYPERCALL_GUEST_CONNECT_HOST_H

#include "hypercall/guest/client.h"

#include <stddef.h>

struct hc_connection {
    int socket;
    int memory;
    void *region;
    uint64_t region_bytes;
    int64_t id;                // our peer's
    int ring[HC_VECTOR_COUNT]; // eventfds that wake the host
    int wake[HC_VECTOR_COUNT]; // and us
    // Called by the waiting thread of hc_connection_watch.
    void (*woken)(void *ctx);
    void *woken_ctx;
    int stop;
    unsigned long watcher;
    bool watching;
};

// 0 or a negative errno, with a message in error. The server must send within 5 seconds: protocol
// version 0, our id, the memory, then eventfds, two a peer (QEMU docs/specs/ivshmem-spec).
int hc_connect(const char *path, struct hc_connection *out, char *error, size_t error_bytes);
// A port over it: wait() sleeps on both of our eventfds. The connection must stay where it is.
struct hc_port hc_connection_port(struct hc_connection *c);
// For owners that sleep on something else: a thread that calls woken(ctx) for each doorbell. The
// port's wait() must not be used then.
int hc_connection_watch(struct hc_connection *c, void (*woken)(void *ctx), void *ctx);
void hc_disconnect(struct hc_connection *c);

#endif
