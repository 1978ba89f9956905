// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Between the HTTP core and what carries its bytes (lwIP in the guest, sockets on the host, a fake
// in tests). The core never blocks and never calls back into the transport from a transport
// callback: callbacks only note what happened, http_server_poll does the work. All of it belongs
// to one strand.
#ifndef LIBOS_NET_HTTP_TRANSPORT_H
#define LIBOS_NET_HTTP_TRANSPORT_H

#include "libos/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_conn;

// What the core asks of a connection; `t` is the transport's own object. After close or abort the
// core has forgotten `t` and the transport makes no further callback for it.
struct http_transport_ops {
    // Takes up to `bytes` and returns how many (0: full, http_conn_writable follows), or -EPIPE.
    ptrdiff_t (*write)(void *t, const void *data, size_t bytes);
    void (*flush)(void *t); // send what was taken, now
    // Bytes taken by write but not yet acknowledged by the peer; http_conn_writable follows as they
    // are.
    size_t (*unacked)(void *t);
    void (*consumed)(void *t, size_t bytes); // opens the receive window again
    void (*shut_write)(void *t);             // no more output (FIN), input goes on
    void (*close)(void *t);                  // orderly
    void (*abort)(void *t);                  // reset
    uint64_t (*now_ms)(void);                // monotonic
    // Stops accepting connections; called by a drain. `listener` is the transport's.
    void (*stop_listening)(void *listener);
};

// limits: NULL or zero fields mean defaults. NULL when out of memory.
struct http_server *http_server_new(const struct http_transport_ops *ops, void *listener,
                                    const struct http_limits *limits);
// Aborts every connection (on_gone is called for running requests) and frees the server.
void http_server_free(struct http_server *s);
// Does what is ready and what is overdue. To be called after callbacks and replies.
void http_server_poll(struct http_server *s);
// When http_server_poll must run next even if nothing happens: now_ms scale, UINT64_MAX for never,
// 0 for at once.
uint64_t http_server_next_ms(const struct http_server *s);

// A connection was accepted. NULL: the server cannot take it, the transport resets it.
struct http_conn *http_conn_open(struct http_server *s, void *t);
// Bytes came (copied). Never more unconsumed than HTTP_WINDOW. -ENOMEM, -ENOBUFS: the transport
// calls http_conn_lost and resets.
int http_conn_data(struct http_conn *c, const void *data, size_t bytes);
void http_conn_eof(struct http_conn *c);      // the peer will send no more
void http_conn_writable(struct http_conn *c); // room to write, or bytes acknowledged
void http_conn_lost(struct http_conn *c);     // reset or failed; `t` is gone already

// The most a transport may deliver without consumed() having been called for it.
#define HTTP_WINDOW (256u * 1024)

#endif
