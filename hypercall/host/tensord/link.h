// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the holder and its worker tell each other, over a socket pair that keeps messages apart
// (SOCK_SEQPACKET). The holder owns what must outlive a worker: regions, eventfds, sockets, the
// list of weights. The worker owns everything that can be computed again.
#ifndef TENSORD_LINK_H
#define TENSORD_LINK_H

#include "hypercall/abi/call.h"

#include <stddef.h>
#include <stdint.h>

struct guest_policy {
    uint32_t weight;          // share of computing when others want it, too; 1 to 10000, usual 100
    uint32_t compute_percent; // of the compute threads' time at most, 0: no limit
    uint32_t most_runs;       // in flight
    uint32_t calls_per_second;
    uint64_t memory_bytes; // of the worker's own that calls in flight may take
};

enum link_kind {
    // To the worker.
    LINK_GUEST,      // a machine has come: region and eventfds are attached
    LINK_GUEST_GONE, // and gone
    LINK_WEIGHTS,    // a file that guests may open, attached
    LINK_NO_WEIGHTS, // what LINK_WANT_WEIGHTS asked for is not there
    LINK_STATISTICS, // wanted: answer by LINK_TEXT with the same request
    LINK_PING,       // answer by LINK_PONG
    LINK_STOP,       // end in order
    // To the holder.
    LINK_WANT_WEIGHTS,
    LINK_TEXT,
    LINK_PONG,
};

// File descriptors of LINK_GUEST in their order.
enum { LINK_FD_REGION, LINK_FD_FROM_GUEST, LINK_FD_TO_GUEST = 3, LINK_GUEST_FDS = 5 };
enum { LINK_MOST_TEXT = 192 << 10, LINK_MOST_FDS = LINK_GUEST_FDS };

struct link_message {
    uint32_t kind;
    uint32_t guest;   // the holder's number
    uint32_t request; // of LINK_STATISTICS and LINK_TEXT
    uint32_t text_bytes;
    uint64_t bytes; // of the region or the file
    struct hc_identity identity;
    struct guest_policy policy;
    char name[256]; // the guest's, or the file's for people
    // text_bytes of text follow.
};

// Sends one message; waits at most a second for room. 0 or a negative errno.
int link_send(int socket, const struct link_message *m, const char *text, const int *fds,
              size_t fd_count);
// One message if there is one: 1; 0: none now; negative: -EPIPE (the other side has ended) or
// another errno. *text is malloc'ed (NULL: none) and ends with a 0. Descriptors are the caller's.
int link_receive(int socket, struct link_message *m, char **text, int fds[LINK_MOST_FDS],
                 size_t *fd_count);

#endif
