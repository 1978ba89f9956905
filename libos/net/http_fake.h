// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A transport in memory for the HTTP core's tests and fuzzer: the test is the client, the clock and
// the network. What the server sends lands in `got`, `room` is what the peer's window takes.
#ifndef LIBOS_NET_HTTP_FAKE_H
#define LIBOS_NET_HTTP_FAKE_H

#include "libos/net/http_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_client {
    struct http_conn *conn;
    char *got;
    size_t got_bytes, got_room;
    size_t room; // bytes write takes before it says full
    size_t hold; // bytes taken but not acknowledged
    size_t sent, consumed;
    bool shut, closed, aborted, broken, keep_hold;
};

static uint64_t fake_now = 1000;

static ptrdiff_t fake_write(void *t, const void *data, size_t bytes)
{
    struct fake_client *f = t;
    if (f->broken)
        return -EPIPE;
    size_t n = bytes < f->room ? bytes : f->room;
    if (f->got_bytes + n + 1 > f->got_room) {
        f->got_room = (f->got_bytes + n + 1) * 2;
        f->got = realloc(f->got, f->got_room);
    }
    memcpy(f->got + f->got_bytes, data, n);
    f->got_bytes += n;
    f->got[f->got_bytes] = 0;
    f->room -= n;
    if (f->keep_hold)
        f->hold += n;
    return (ptrdiff_t)n;
}
static void fake_flush(void *t)
{
    (void)t;
}
static size_t fake_unacked(void *t)
{
    return ((struct fake_client *)t)->hold;
}
static void fake_consumed(void *t, size_t bytes)
{
    ((struct fake_client *)t)->consumed += bytes;
}
static void fake_shut(void *t)
{
    ((struct fake_client *)t)->shut = true;
}
static void fake_close(void *t)
{
    ((struct fake_client *)t)->closed = true;
    ((struct fake_client *)t)->conn = NULL;
}
static void fake_abort(void *t)
{
    ((struct fake_client *)t)->aborted = true;
    ((struct fake_client *)t)->conn = NULL;
}
static uint64_t fake_clock(void)
{
    return fake_now;
}
static bool fake_stopped;
static void fake_stop(void *listener)
{
    (void)listener;
    fake_stopped = true;
}

static const struct http_transport_ops fake_ops = {
    fake_write, fake_flush, fake_unacked, fake_consumed, fake_shut,
    fake_close, fake_abort, fake_clock,   fake_stop,
};

static inline void fake_settle(struct http_server *s)
{
    for (int i = 0; i < 100 && http_server_next_ms(s) <= fake_now; i++)
        http_server_poll(s);
}

static inline void fake_connect(struct http_server *s, struct fake_client *f)
{
    memset(f, 0, sizeof *f);
    f->room = SIZE_MAX / 4;
    f->conn = http_conn_open(s, f);
    fake_settle(s);
}

// The server's receive window is kept, as TCP would. Returns how much could be sent.
static inline size_t fake_send(struct http_server *s, struct fake_client *f, const void *data,
                               size_t bytes)
{
    size_t done = 0;
    while (done < bytes && f->conn && !f->closed && !f->aborted) {
        size_t window = HTTP_WINDOW - (f->sent - f->consumed);
        size_t n = bytes - done < window ? bytes - done : window;
        if (n == 0)
            break;
        f->sent += n;
        if (http_conn_data(f->conn, (const char *)data + done, n)) {
            http_conn_lost(f->conn);
            f->conn = NULL;
            f->aborted = true;
        }
        done += n;
        fake_settle(s);
    }
    return done;
}

static inline void fake_eof(struct http_server *s, struct fake_client *f)
{
    if (f->conn)
        http_conn_eof(f->conn);
    fake_settle(s);
}

static inline void fake_reset(struct http_server *s, struct fake_client *f)
{
    if (f->conn)
        http_conn_lost(f->conn);
    f->conn = NULL;
    fake_settle(s);
}

static inline void fake_take(struct http_server *s, struct fake_client *f, size_t room)
{
    f->room = room;
    if (f->conn)
        http_conn_writable(f->conn);
    fake_settle(s);
}

static inline void fake_time(struct http_server *s, uint64_t ms)
{
    fake_now += ms;
    fake_settle(s);
}

static inline void fake_done(struct fake_client *f)
{
    free(f->got);
    f->got = NULL;
}

#endif
