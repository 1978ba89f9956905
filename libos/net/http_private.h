// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The HTTP core's own structures. A connection carries one request at a time; further (pipelined)
// bytes wait unparsed in `in`, and the receive window holds back what does not fit.
#ifndef LIBOS_NET_HTTP_PRIVATE_H
#define LIBOS_NET_HTTP_PRIVATE_H

#include "libos/net/http_transport.h"

#include <llhttp/llhttp.h>

enum {
    HTTP_HEADERS_MAX = 100,         // fields of one request → 431
    HTTP_TARGET_MAX = 8192,         // bytes of the request target → 414
    HTTP_LINGER_MS = 2000,          // how long a closed connection is read and discarded
    HTTP_BODY_RATE = 512,           // bytes/s a body must average once body_ms have passed
    HTTP_SEND_STEP = 1024,          // bytes a client must take within send_ms to count as reading
    HTTP_NEXT_REQUEST_ROOM = 16384, // unsent bytes above which a pipelined request has to wait
    HTTP_REQUESTS_A_STEP = 8,       // pipelined requests answered before others get a turn
    HTTP_SMALL_BUFFER = 4096,
    HTTP_EVICT_MS = 1000,   // a full server closes who has kept it waiting for so long
    HTTP_REJECTED_MAX = 32, // connections over the limit that may be told 503 at a time
};

// A byte buffer: bytes [start, end) of `data` are in use.
struct http_buffer {
    char *data;
    size_t start, end, room;
};

struct http_field {
    uint32_t name, value; // offsets into head
};

enum http_request_state {
    HTTP_R_READING,   // not handed to a handler yet
    HTTP_R_HANDED,    // the handler owes an answer
    HTTP_R_STREAMING, // between http_begin and http_end
    HTTP_R_DONE,
};

struct http_request {
    struct http_server *server;
    struct http_conn *conn; // NULL once the client is gone and the handler did not ask to be told
    struct http_route *route;
    enum http_request_state state;
    uint8_t method; // llhttp_method_t
    bool version_1_0, keep_alive, head_only, chunked, expect_continue, wants_drain;
    struct http_buffer head; // NUL-terminated strings: target, then name and value of each field
    struct http_field fields[HTTP_HEADERS_MAX];
    uint32_t field_count;
    const char *path, *query; // set when the header is complete
    struct http_buffer body;
    char *extra; // header lines added by the handler, each with CR LF
    size_t extra_bytes;
    void (*gone)(void *ctx);
    void *gone_ctx;
    void (*drain)(void *ctx);
    void *drain_ctx;
};

enum http_conn_state {
    HTTP_C_READING, // waiting for or within a request
    HTTP_C_BUSY,    // a handler has the request, or its answer is not complete
    HTTP_C_CLOSING, // nothing more will be answered: send what is left, then close
    HTTP_C_LINGER,  // our side is shut; discard input until the peer closes, or for a while
    HTTP_C_DEAD,    // only to be freed
};

struct http_conn {
    struct http_conn *next, *prev;
    struct http_conn *ready_next;
    struct http_server *server;
    void *transport;
    enum http_conn_state state;
    bool ready, stepping, eof, lost, rejected, evicted, linger_wanted;
    llhttp_t parser;
    struct http_request *request;
    struct http_buffer in, out;
    // Where within a request the parser is.
    bool begun, header_done, in_target, message_done;
    uint32_t header_tail; // its last four bytes
    size_t header_used, body_raw;
    int refuse_status; // set by parser callbacks: answer this and close
    const char *refuse_type, *refuse_message;
    // Deadlines, now_ms scale; 0: none.
    uint64_t read_deadline, send_deadline;
    uint64_t waiting_since; // READING: when it began to wait for a whole header
    uint64_t body_started;
    uint64_t queued_total, acked_mark; // see http_conn.c, send progress
};

struct http_route {
    struct http_route *next;
    char *path;
    uint8_t method;
    unsigned flags;
    http_handler handler;
    void *ctx;
};

struct http_server {
    const struct http_transport_ops *ops;
    void *listener;
    struct http_limits limits;
    struct http_route *routes;
    char *key;
    struct http_conn *conns, *ready;
    size_t conn_count, rejected_count, evicted_count, running, memory;
    uint64_t next_ms;
    struct http_stats stats;
    llhttp_settings_t settings;
    bool draining, polling, kick;
    bool stopped; // http_server_free was called
    bool locked;  // a key was set but could not be kept: nothing but public routes
    uint64_t drain_deadline;
    void (*drained)(void *ctx);
    void *drained_ctx;
    int64_t date_second;
    char date[64];
};

// http_buffer.c: growing is accounted to the server; -ENOMEM when malloc fails or its memory_bytes
// are spent (`forced` ignores the latter: short answers must always be possible).
int http_buffer_append(struct http_server *s, struct http_buffer *b, const void *data, size_t bytes,
                       bool forced);
void http_buffer_free(struct http_server *s, struct http_buffer *b);
// What all streams together may hold: half of memory_bytes, so that slow readers leave room for
// requests.
static inline size_t http_stream_memory(const struct http_server *s)
{
    return s->limits.memory_bytes / 2;
}
static inline size_t http_buffer_bytes(const struct http_buffer *b)
{
    return b->end - b->start;
}

// http_parse.c
void http_parse_init(llhttp_settings_t *settings);
// Parses what is in c->in as far as the current request goes. True when that one was answered from
// its header alone (http_admit) and the connection reads on: the answer's bytes count before the
// next request is looked at.
bool http_parse(struct http_conn *c);
// Looks over a complete header: framing, Host, Expect. Returns 0 or the status to refuse with (and
// sets refuse_*).
int http_check_header(struct http_conn *c);

// http_route.c: at the end of the header. 0: the body may come; otherwise it was answered.
bool http_admit(struct http_conn *c);
// Hands the complete request to its handler.
void http_dispatch(struct http_conn *c);

// http_request.c
struct http_request *http_request_new(struct http_conn *c);
void http_request_free(struct http_request *r);

// http_reply.c
// Ends reading, answers with an error and closes the connection after it.
void http_refuse(struct http_conn *c, int status, const char *type, const char *message);
// The answer of `r` is complete. Frees r.
void http_answered(struct http_request *r);
const char *http_status_text(int status);
const char *http_error_type(int status);

// http_conn.c
void http_conn_ready(struct http_conn *c);
void http_conn_step(struct http_conn *c);
void http_conn_timeout(struct http_conn *c, uint64_t now);
void http_conn_free(struct http_conn *c);
// Queues output; false when there is no memory (the connection is then lost).
bool http_conn_queue(struct http_conn *c, const void *data, size_t bytes);

// http_server.c
void http_server_deadline(struct http_server *s, uint64_t deadline);
// Frees a stopped server once nothing refers to it.
void http_server_settle(struct http_server *s);
const char *http_server_date(struct http_server *s);
bool http_key_matches(const char *key, const char *offered);

#endif
