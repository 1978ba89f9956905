// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The HTTP server on the host: the same core as in the guest, over sockets (epoll). One loop a
// process; listen, run and every http_ call belong to the thread that runs it, http_host_post does
// not.
#ifndef LIBOS_HTTP_HOST_H
#define LIBOS_HTTP_HOST_H

#include "libos/http.h"

#include <stdatomic.h>

// address: numeric, NULL for all. port 0: any free one (http_host_port tells). limits NULL:
// defaults. 0 or a negative errno.
int http_host_listen(const char *address, uint16_t port, const struct http_limits *limits,
                     struct http_server **out);
uint16_t http_host_port(const struct http_server *s);
// Serves until *stop is true; looked at after every event and every 100 ms. NULL: for ever.
// 0, or a negative errno when epoll fails.
int http_host_run(struct http_server *s, const atomic_bool *stop);
// Runs fn(arg) on the loop's thread, in order. Any thread. -ENOMEM.
int http_host_post(void (*fn)(void *arg), void *arg);
// Aborts its connections (on_gone is called for what runs) and frees it. Not from within a handler.
void http_host_close(struct http_server *s);

#endif
