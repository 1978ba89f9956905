// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The server as a whole: its connections' turns, deadlines, drain, statistics.
#include "libos/net/http_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void defaults(struct http_limits *to, const struct http_limits *from)
{
    static const struct http_limits none;
    const struct http_limits *f = from ? from : &none;
    to->connections = f->connections ? f->connections : 256;
    to->header_bytes = f->header_bytes ? f->header_bytes : 16 << 10;
    to->body_bytes = f->body_bytes ? f->body_bytes : 4 << 20;
    to->memory_bytes = f->memory_bytes ? f->memory_bytes : 8 << 20;
    to->header_ms = f->header_ms ? f->header_ms : 10000;
    to->body_ms = f->body_ms ? f->body_ms : 20000;
    to->idle_ms = f->idle_ms ? f->idle_ms : 60000;
    to->send_ms = f->send_ms ? f->send_ms : 30000;
    to->send_bytes = f->send_bytes ? f->send_bytes : 256 << 10;
}

struct http_server *http_server_new(const struct http_transport_ops *ops, void *listener,
                                    const struct http_limits *limits)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->ops = ops;
    s->listener = listener;
    s->next_ms = UINT64_MAX;
    defaults(&s->limits, limits);
    http_parse_init(&s->settings);
    return s;
}

static void release(struct http_server *s)
{
    while (s->routes) {
        struct http_route *route = s->routes;
        s->routes = route->next;
        free(route->path);
        free(route);
    }
    free(s->key);
    free(s);
}

// After http_server_free the server lives on until its last orphaned request has been answered.
void http_server_settle(struct http_server *s)
{
    if (s->stopped && s->running == 0 && s->conns == NULL && !s->polling)
        release(s);
}

void http_server_free(struct http_server *s)
{
    for (struct http_conn *c = s->conns; c; c = c->next) {
        c->lost = true;
        http_conn_ready(c);
    }
    s->stopped = true;
    s->drained = NULL;
    http_server_poll(s);
}

void http_server_deadline(struct http_server *s, uint64_t deadline)
{
    if (deadline < s->next_ms)
        s->next_ms = deadline;
}

static void check_deadlines(struct http_server *s, uint64_t now)
{
    s->next_ms = s->draining && now < s->drain_deadline ? s->drain_deadline : UINT64_MAX;
    for (struct http_conn *c = s->conns; c; c = c->next) {
        http_conn_timeout(c, now);
        if (c->read_deadline)
            http_server_deadline(s, c->read_deadline);
        if (c->send_deadline)
            http_server_deadline(s, c->send_deadline);
    }
}

static void check_drain(struct http_server *s, uint64_t now)
{
    for (struct http_conn *c = s->conns; c; c = c->next) {
        if (now >= s->drain_deadline) {
            c->lost = true;
            http_conn_ready(c);
        } else if (s->running == 0 && c->state == HTTP_C_READING && !c->begun &&
                   http_buffer_bytes(&c->in) == 0) {
            c->state = HTTP_C_CLOSING;
            http_conn_ready(c);
        }
    }
    // At the deadline handlers may still owe answers, but their clients are gone.
    if (s->conns == NULL && (s->running == 0 || now >= s->drain_deadline) && s->drained) {
        void (*done)(void *ctx) = s->drained;
        s->drained = NULL;
        done(s->drained_ctx);
    }
}

static void reap(struct http_server *s)
{
    struct http_conn *next;
    for (struct http_conn *c = s->conns; c; c = next) {
        next = c->next;
        if (c->state == HTTP_C_DEAD && !c->ready)
            http_conn_free(c);
    }
}

void http_server_poll(struct http_server *s)
{
    if (s->polling)
        return; // a callback of ours called back: the outer call goes on
    s->polling = true;
    s->kick = false;
    uint64_t now = s->ops->now_ms();
    if (now >= s->next_ms)
        check_deadlines(s, now);
    struct http_conn *list = s->ready;
    s->ready = NULL;
    bool died = false;
    while (list) {
        struct http_conn *c = list;
        list = c->ready_next;
        c->ready_next = NULL;
        c->ready = false;
        http_conn_step(c);
        died |= c->state == HTTP_C_DEAD;
    }
    if (s->draining)
        check_drain(s, now);
    if (died)
        reap(s);
    if (s->draining && s->conns == NULL)
        check_drain(s, now);
    s->polling = false;
    http_server_settle(s);
}

uint64_t http_server_next_ms(const struct http_server *s)
{
    return s->ready || s->kick ? 0 : s->next_ms;
}

void http_get_stats(const struct http_server *s, struct http_stats *out)
{
    *out = s->stats;
    out->connections_now = s->conn_count;
}

void http_drain(struct http_server *s, uint32_t timeout_ms, void (*done)(void *ctx), void *ctx)
{
    if (s->draining)
        return;
    s->draining = true;
    s->drain_deadline = s->ops->now_ms() + timeout_ms;
    s->drained = done;
    s->drained_ctx = ctx;
    http_server_deadline(s, s->drain_deadline);
    if (s->ops->stop_listening)
        s->ops->stop_listening(s->listener);
    for (struct http_conn *c = s->conns; c; c = c->next)
        http_conn_ready(c);
    s->kick = true;
}

// RFC 9110, 6.6.1: a Date line if there is a clock, made once a second.
const char *http_server_date(struct http_server *s)
{
    time_t now = time(NULL);
    if (now < 1577836800) // before 2020: no clock
        return "";
    if (now != s->date_second) {
        struct tm tm;
        static const char days[] = "SunMonTueWedThuFriSat",
                          months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        gmtime_r(&now, &tm);
        snprintf(s->date, sizeof s->date, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                 days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        s->date_second = now;
    }
    return s->date;
}
