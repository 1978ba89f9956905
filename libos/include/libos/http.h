// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HTTP/1.1 server (llhttp parses). Transport-neutral: in the guest it sits on lwIP, in host tests
// and in the native server on sockets. Everything here runs on one strand/thread, the server's.
// Limits and time-outs hold for every connection (struct http_limits).
#ifndef LIBOS_HTTP_H
#define LIBOS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_request;

struct http_limits {     // 0: the default
    size_t connections;  // default 256; one more gets 503 and is closed
    size_t header_bytes; // default 16 KB → 431
    size_t body_bytes;   // default 4 MB → 413
    size_t memory_bytes; // of all connections: headers, bodies, unsent answers; default 8 MB → 503
    uint32_t header_ms;  // time for a whole request header, default 10 s → 408
    uint32_t body_ms;    // between body bytes, default 20 s; then at least 512 B/s → 408
    uint32_t idle_ms;    // keep-alive, default 60 s → closed
    uint32_t send_ms;    // client takes under 1 KB of what waits in it, default 30 s → closed
    size_t send_bytes; // unsent bytes a stream may hold, default 256 KB → http_write says -EAGAIN
};

typedef void (*http_handler)(struct http_request *r, void *ctx);

enum http_route_flags { HTTP_PUBLIC = 1 }; // no API key needed

// Routes are matched exactly on path; a known path with another method is 405 with Allow; unknown
// is 404; errors are JSON in the shape of the OpenAI API ({"error":{"code","message","type"}}).
int http_route(struct http_server *s, const char *method, const char *path, unsigned flags,
               http_handler handler, void *ctx);
// API key (copied) that guards every route not HTTP_PUBLIC; NULL: none. Constant-time compare;
// `Authorization: Bearer K` or `X-Api-Key: K`.
void http_set_key(struct http_server *s, const char *key);

const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r);                     // without query
const char *http_query(const struct http_request *r);                    // after '?', "" if none
const char *http_header(const struct http_request *r, const char *name); // NULL if absent
const char *http_body(const struct http_request *r, size_t *bytes);      // NUL-terminated too

// A handler answers at once or later (from the server's strand), exactly once.
void http_reply(struct http_request *r, int status, const char *type, const void *body,
                size_t bytes);
void http_reply_json(struct http_request *r, int status, const char *json);
// {"error":{"code":status,"message":…,"type":type}} with printf-like message.
void http_reply_error(struct http_request *r, int status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Adds a line to the answer's header; before http_reply or http_begin. -EINVAL: not a header, or
// too long.
int http_add_header(struct http_request *r, const char *name, const char *value);
// Streaming: begin, write…, end. Chunked on HTTP/1.1, close-delimited on 1.0.
void http_begin(struct http_request *r, int status, const char *type);
int http_write(struct http_request *r, const void *data,
               size_t bytes); // 0, -EAGAIN, -EPIPE (client gone)
void http_end(struct http_request *r);
// Called once if the client goes away before the answer is complete; after it returns r is invalid
// and must not be used again.
void http_on_gone(struct http_request *r, void (*gone)(void *ctx), void *ctx);
// Called when a stream that said -EAGAIN can take more.
void http_on_drain(struct http_request *r, void (*drain)(void *ctx), void *ctx);

struct http_stats {
    uint64_t connections_total, connections_now, requests_total, responses_2xx, responses_4xx,
        responses_5xx, timeouts, rejected;
};
void http_get_stats(const struct http_server *s, struct http_stats *out);

// In the guest: listens on `port` on all addresses (v4 and v6). limits NULL: defaults. On the net
// strand (net_post), as every http_ call, so that no request comes before its route is there.
// -EPERM elsewhere, -EADDRINUSE, -ENOMEM.
int http_listen(uint16_t port, const struct http_limits *limits, struct http_server **out);
// Graceful: stops accepting, answers what runs (new requests on kept connections get 503 with
// Connection: close), then calls done. Bounded by timeout_ms.
void http_drain(struct http_server *s, uint32_t timeout_ms, void (*done)(void *ctx), void *ctx);

#endif
