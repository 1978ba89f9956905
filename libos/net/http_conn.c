// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One connection's life. Transport callbacks note what happened and mark the connection ready;
// http_conn_step, called from http_server_poll alone, moves it on. It is freed there too, so a
// pointer to it stays good through any callback.
//
// When the client is gone: a reset or a failed write always counts. An end of input (FIN) counts as
// soon as the running request has an http_on_gone callback, that is, for work worth cancelling: a
// killed client sends just a FIN, and no write would tell until the answer is made. Without the
// callback a half-closed client (`printf … | nc`) still gets its answer.
#include "libos/net/http_private.h"

#include <errno.h>
#include <stdlib.h>

void http_conn_ready(struct http_conn *c)
{
    if (c->ready || c->stepping || c->state == HTTP_C_DEAD)
        return;
    c->ready = true;
    c->ready_next = c->server->ready;
    c->server->ready = c;
}

// A full server makes room for a newcomer by closing the connection that has waited longest without
// sending a whole header: idle ones cost nobody anything, slow ones are the slow-header attack.
static bool evict(struct http_server *s)
{
    struct http_conn *longest = NULL;
    for (struct http_conn *c = s->conns; c; c = c->next)
        if (c->state == HTTP_C_READING && !c->evicted && !(c->begun && c->header_done) &&
            (longest == NULL || c->waiting_since < longest->waiting_since))
            longest = c;
    if (longest == NULL || s->ops->now_ms() < longest->waiting_since + HTTP_EVICT_MS)
        return false;
    longest->evicted = longest->lost = true;
    s->evicted_count++;
    http_conn_ready(longest);
    return true;
}

struct http_conn *http_conn_open(struct http_server *s, void *t)
{
    size_t served = s->conn_count - s->rejected_count - s->evicted_count;
    bool full = s->draining || (served >= s->limits.connections && !evict(s));
    if (full)
        s->stats.rejected++;
    if (full && (s->rejected_count >= HTTP_REJECTED_MAX || s->stopped))
        return NULL;
    struct http_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->server = s;
    c->transport = t;
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->conn_count++;
    s->stats.connections_total++;
    if (full) {
        c->rejected = true;
        s->rejected_count++;
        http_refuse(c, 503, http_error_type(503),
                    s->draining ? "shutting down" : "too many connections");
        http_conn_ready(c);
        return c;
    }
    c->waiting_since = s->ops->now_ms();
    c->read_deadline = c->waiting_since + s->limits.header_ms;
    http_server_deadline(s, c->read_deadline);
    return c;
}

void http_conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->conn_count--;
    if (c->rejected)
        s->rejected_count--;
    if (c->evicted)
        s->evicted_count--;
    http_buffer_free(s, &c->in);
    http_buffer_free(s, &c->out);
    free(c);
}

int http_conn_data(struct http_conn *c, const void *data, size_t bytes)
{
    if (c->state == HTTP_C_CLOSING || c->state == HTTP_C_LINGER) {
        if (c->transport)
            c->server->ops->consumed(c->transport, bytes);
        return 0;
    }
    if (http_buffer_bytes(&c->in) + bytes > HTTP_WINDOW)
        return -ENOBUFS;
    if (c->refuse_status || http_buffer_append(c->server, &c->in, data, bytes, false)) {
        // Input with a gap must not be parsed: what comes is dropped, the next turn refuses.
        c->refuse_status = 503;
        c->server->ops->consumed(c->transport, bytes);
    }
    http_conn_ready(c);
    return 0;
}

void http_conn_eof(struct http_conn *c)
{
    c->eof = true;
    http_conn_ready(c);
}

void http_conn_writable(struct http_conn *c)
{
    http_conn_ready(c);
}

void http_conn_lost(struct http_conn *c)
{
    c->transport = NULL;
    c->lost = true;
    http_conn_ready(c);
}

bool http_conn_queue(struct http_conn *c, const void *data, size_t bytes)
{
    if (c->lost)
        return false;
    if (http_buffer_append(c->server, &c->out, data, bytes, true)) {
        c->lost = true; // half an answer cannot be taken back
        http_conn_ready(c);
        return false;
    }
    c->queued_total += bytes;
    http_conn_ready(c);
    return true;
}

static void flush(struct http_conn *c)
{
    const struct http_transport_ops *ops = c->server->ops;
    bool any = false;
    while (http_buffer_bytes(&c->out)) {
        ptrdiff_t n =
            ops->write(c->transport, c->out.data + c->out.start, http_buffer_bytes(&c->out));
        if (n < 0) {
            c->lost = true;
            return;
        }
        if (n == 0)
            break;
        c->out.start += (size_t)n;
        any = true;
    }
    if (any)
        ops->flush(c->transport);
    if (http_buffer_bytes(&c->out) == 0) {
        if (c->out.room > 4096 || c->request == NULL)
            http_buffer_free(c->server, &c->out);
        else
            c->out.start = c->out.end = 0;
    }
    // Send progress: queued_total less what still waits is what the peer has acknowledged. It must
    // grow by HTTP_SEND_STEP within send_ms, or to all there is.
    size_t waiting = http_buffer_bytes(&c->out) + ops->unacked(c->transport);
    if (waiting == 0) {
        c->send_deadline = 0;
        return;
    }
    uint64_t acked = c->queued_total - waiting;
    if (c->send_deadline == 0 || acked >= c->acked_mark + HTTP_SEND_STEP) {
        c->acked_mark = acked;
        c->send_deadline = ops->now_ms() + c->server->limits.send_ms;
        http_server_deadline(c->server, c->send_deadline);
    }
}

void http_answered(struct http_request *r)
{
    struct http_conn *c = r->conn;
    struct http_server *s = r->server;
    s->running--;
    r->state = HTTP_R_DONE;
    if (c) {
        c->request = NULL;
        c->begun = c->message_done = false;
        if (r->keep_alive && !s->draining) {
            c->state = HTTP_C_READING;
            c->waiting_since = s->ops->now_ms();
            c->read_deadline = c->waiting_since + s->limits.idle_ms;
            http_server_deadline(s, c->read_deadline);
        } else {
            c->state = HTTP_C_CLOSING;
            if (http_buffer_bytes(&c->in))
                c->linger_wanted = true;
        }
        http_conn_ready(c);
    }
    http_request_free(r);
    s->kick |= s->draining;
    http_server_settle(s);
}

// The client is gone: tells the handler, or leaves the request to it until it answers.
static void lose(struct http_conn *c)
{
    struct http_request *r = c->request;
    struct http_server *s = c->server;
    if (c->transport)
        s->ops->abort(c->transport);
    c->transport = NULL;
    c->request = NULL;
    c->state = HTTP_C_DEAD;
    if (r == NULL)
        return;
    r->conn = NULL;
    if (r->state == HTTP_R_READING) {
        http_request_free(r);
    } else if (r->gone) {
        r->state = HTTP_R_DONE; // answering from within gone() does nothing
        r->gone(r->gone_ctx);
        http_request_free(r);
        s->running--;
    }
}

static void discard_input(struct http_conn *c)
{
    size_t bytes = http_buffer_bytes(&c->in);
    http_buffer_free(c->server, &c->in);
    if (bytes && c->transport)
        c->server->ops->consumed(c->transport, bytes);
}

static void finish(struct http_conn *c)
{
    c->server->ops->close(c->transport);
    c->transport = NULL;
    c->state = HTTP_C_DEAD;
}

// All is sent: close, or (when the peer may still be sending) shut our side and read on for a
// while, lest its bytes meet a closed socket and the reset wipe out the answer before it is read.
static void close_sent(struct http_conn *c)
{
    if (!c->linger_wanted || c->eof) {
        finish(c);
        return;
    }
    c->server->ops->shut_write(c->transport);
    c->state = HTTP_C_LINGER;
    c->read_deadline = c->server->ops->now_ms() + HTTP_LINGER_MS;
    http_server_deadline(c->server, c->read_deadline);
}

// May a stream that was told to wait go on? With nothing of its own unsent always: so nobody waits
// for memory that others hold.
static bool has_room(const struct http_conn *c)
{
    const struct http_server *s = c->server;
    size_t waiting = http_buffer_bytes(&c->out);
    return waiting == 0 ||
           (waiting <= s->limits.send_bytes / 2 && s->memory <= http_stream_memory(s) / 4 * 3);
}

// One move; false when there is nothing to do until something happens.
static bool advance(struct http_conn *c, unsigned *budget)
{
    struct http_request *r = c->request;
    switch (c->state) {
    case HTTP_C_READING:
        if (c->refuse_status) {
            discard_input(c);
            http_refuse(c, 503, http_error_type(503), "out of memory for this request");
            return true;
        }
        if (http_buffer_bytes(&c->out) > HTTP_NEXT_REQUEST_ROOM)
            return false;
        if (http_buffer_bytes(&c->in) == 0) {
            if (!c->eof)
                return false;
            http_request_free(r); // cut off in its middle: nobody to answer
            c->request = NULL;
            c->state = HTTP_C_CLOSING;
            return true;
        }
        if (*budget == 0)
            return false;
        if (http_parse(c)) {
            --*budget;
        } else if (c->state == HTTP_C_READING && c->message_done) {
            --*budget;
            http_dispatch(c);
        }
        return true;
    case HTTP_C_BUSY:
        if (c->eof && r->gone) {
            c->lost = true;
            return true;
        }
        if (r->wants_drain && r->drain && *budget > 0 && has_room(c)) {
            --*budget;
            r->wants_drain = false;
            r->drain(r->drain_ctx);
            return true;
        }
        return false;
    case HTTP_C_CLOSING:
        discard_input(c);
        if (http_buffer_bytes(&c->out) || c->server->ops->unacked(c->transport))
            return false;
        close_sent(c);
        return c->state == HTTP_C_LINGER;
    case HTTP_C_LINGER:
        discard_input(c);
        if (c->eof)
            finish(c);
        return false;
    case HTTP_C_DEAD:
        return false;
    }
    return false;
}

void http_conn_step(struct http_conn *c)
{
    unsigned budget = HTTP_REQUESTS_A_STEP;
    c->stepping = true;
    do {
        if (!c->lost && c->state != HTTP_C_DEAD && c->transport)
            flush(c);
        if (c->lost && c->state != HTTP_C_DEAD)
            lose(c);
    } while (advance(c, &budget));
    c->stepping = false;
    // Out of budget with work left: another turn, after the others have had theirs.
    if (budget == 0 && (c->state == HTTP_C_BUSY || http_buffer_bytes(&c->in)))
        http_conn_ready(c);
}

void http_conn_timeout(struct http_conn *c, uint64_t now)
{
    struct http_server *s = c->server;
    if (c->send_deadline && now >= c->send_deadline) {
        s->stats.timeouts++;
        c->send_deadline = 0;
        c->lost = true; // lose() resets it: what the peer does not take cannot be kept
        http_conn_ready(c);
    } else if (c->read_deadline && now >= c->read_deadline) {
        c->read_deadline = 0;
        if (c->state == HTTP_C_LINGER) {
            c->eof = true;
        } else if (c->state == HTTP_C_READING) {
            if (c->begun) {
                s->stats.timeouts++;
                http_refuse(c, 408, http_error_type(408),
                            c->header_done ? "the body came too slowly"
                                           : "the header came too slowly");
            } else {
                c->state = HTTP_C_CLOSING;
            }
        }
        http_conn_ready(c);
    }
}
