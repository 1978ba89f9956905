// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HTTP transport over lwIP's raw TCP API. lwIP's callbacks only note what happened; writing,
// closing and aborting happen in the core's poll, outside any callback of lwIP's.
#include "libos/net/http_transport.h"
#include "libos/net/net_private.h"

#include "libos/log.h"

#include <errno.h>
#include <lwip/memp.h>
#include <lwip/stats.h>
#include <lwip/tcp.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKLOG = 64,
    POLL_HALF_SECONDS = 1, // tcp_poll interval: retries a write that met exhausted memory
    KEEPALIVE_IDLE_MS = 60000,
    KEEPALIVE_INTERVAL_MS = 10000,
    KEEPALIVE_COUNT = 4,
    // All connections' unacknowledged bytes together. Above it each still gets UNACKED_LEAST.
    UNACKED_MOST = 4 << 20,
    UNACKED_LEAST = 4 * TCP_MSS,
};

struct lwip_server {
    struct net_poller poller; // first
    struct http_server *http;
    struct tcp_pcb *listener; // NULL once a drain stopped listening
};

struct lwip_conn {
    struct tcp_pcb *pcb;
    struct http_conn *http;
    size_t in_flight; // written and not acknowledged
    bool full;        // write said so: whatever makes room has to be passed on
};

static size_t in_flight_total; // of open connections

// Segments one connection may queue. All share one pool, which also serves SYNs and FINs: clients
// with tiny windows, whose bytes go out in tiny segments, must not use it up.
static size_t segments_allowed(void)
{
    size_t used = lwip_stats.memp[MEMP_TCP_SEG]->used;
    if (used < MEMP_NUM_TCP_SEG / 2)
        return TCP_SND_QUEUELEN;
    return used < MEMP_NUM_TCP_SEG / 4 * 3 ? 8 : used < MEMP_NUM_TCP_SEG / 8 * 7 ? 2 : 0;
}

// How many bytes may be queued now.
static size_t write_room(const struct lwip_conn *l)
{
    const struct tcp_pcb *pcb = l->pcb;
    size_t room = tcp_sndbuf(pcb);
    if (in_flight_total > UNACKED_MOST) {
        size_t least = l->in_flight < UNACKED_LEAST ? UNACKED_LEAST - l->in_flight : 0;
        room = least < room ? least : room;
    }
    // lwIP cuts segments to half of the largest window seen.
    size_t segment = pcb->snd_wnd_max / 2;
    if (segment == 0 || segment > pcb->mss)
        segment = pcb->mss;
    size_t allowed = segments_allowed(), queued = tcp_sndqueuelen(pcb);
    size_t fit = queued < allowed ? (allowed - queued) * segment : 0;
    return fit < room ? fit : room;
}

static ptrdiff_t op_write(void *t, const void *data, size_t bytes)
{
    struct lwip_conn *l = t;
    size_t room = write_room(l);
    size_t n = bytes < room ? bytes : room;
    if (n > 0xffff)
        n = 0xffff;
    // Less at a time until it fits: memory is a bound too.
    err_t error = n ? tcp_write(l->pcb, data, (u16_t)n, TCP_WRITE_FLAG_COPY) : ERR_MEM;
    while (error == ERR_MEM && n > TCP_MSS) {
        n /= 2;
        error = tcp_write(l->pcb, data, (u16_t)n, TCP_WRITE_FLAG_COPY);
    }
    l->full = error == ERR_MEM;
    if (error == ERR_OK) {
        l->in_flight += n;
        in_flight_total += n;
        return (ptrdiff_t)n;
    }
    return error == ERR_MEM ? 0 : -EPIPE;
}

static void op_flush(void *t)
{
    tcp_output(((struct lwip_conn *)t)->pcb);
}

static size_t op_unacked(void *t)
{
    return ((struct lwip_conn *)t)->in_flight;
}

static void op_consumed(void *t, size_t bytes)
{
    struct lwip_conn *l = t;
    while (bytes) {
        u16_t n = bytes > 0xffff ? 0xffff : (u16_t)bytes;
        tcp_recved(l->pcb, n);
        bytes -= n;
    }
}

static void op_shut_write(void *t)
{
    struct lwip_conn *l = t;
    // Out of memory for the FIN: the close that follows tries again.
    tcp_shutdown(l->pcb, 0, 1);
}

static void detach(struct lwip_conn *l)
{
    in_flight_total -= l->in_flight;
    tcp_arg(l->pcb, NULL);
    tcp_recv(l->pcb, NULL);
    tcp_sent(l->pcb, NULL);
    tcp_poll(l->pcb, NULL, 0);
    tcp_err(l->pcb, NULL);
}

static void op_close(void *t)
{
    struct lwip_conn *l = t;
    detach(l);
    // From here lwIP's own time-outs hold: retransmissions of the FIN, FIN_WAIT_2, TIME_WAIT.
    if (tcp_close(l->pcb) != ERR_OK)
        tcp_abort(l->pcb);
    free(l);
}

static void op_abort(void *t)
{
    struct lwip_conn *l = t;
    detach(l);
    tcp_abort(l->pcb);
    free(l);
}

static void op_stop_listening(void *listener)
{
    struct lwip_server *s = listener;
    if (s->listener)
        tcp_close(s->listener); // a listener's always succeeds
    s->listener = NULL;
}

static const struct http_transport_ops lwip_ops = {
    .write = op_write,
    .flush = op_flush,
    .unacked = op_unacked,
    .consumed = op_consumed,
    .shut_write = op_shut_write,
    .close = op_close,
    .abort = op_abort,
    .now_ms = net_now_ms,
    .stop_listening = op_stop_listening,
};

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    struct lwip_conn *l = arg;
    int refused = 0;
    if (p == NULL) {
        http_conn_eof(l->http);
        return ERR_OK;
    }
    for (struct pbuf *q = p; q && error == ERR_OK && refused == 0; q = q->next)
        refused = http_conn_data(l->http, q->payload, q->len);
    pbuf_free(p);
    if (refused == 0)
        return ERR_OK;
    http_conn_lost(l->http);
    detach(l);
    free(l);
    tcp_abort(pcb);
    return ERR_ABRT;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t bytes)
{
    struct lwip_conn *l = arg;
    (void)pcb;
    size_t n = bytes < l->in_flight ? bytes : l->in_flight; // a FIN counts one
    l->in_flight -= n;
    in_flight_total -= n;
    l->full = false;
    http_conn_writable(l->http);
    return ERR_OK;
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    struct lwip_conn *l = arg;
    (void)pcb;
    if (l->full)
        http_conn_writable(l->http);
    return ERR_OK;
}

// The control block is gone already.
static void on_error(void *arg, err_t error)
{
    struct lwip_conn *l = arg;
    (void)error;
    in_flight_total -= l->in_flight;
    http_conn_lost(l->http);
    free(l);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct lwip_server *s = arg;
    if (error != ERR_OK || pcb == NULL)
        return ERR_VAL; // no control block for it: lwIP drops the SYN, the client tries again
    struct lwip_conn *l = calloc(1, sizeof *l);
    if (l)
        l->http = http_conn_open(s->http, l);
    if (l == NULL || l->http == NULL) {
        free(l);
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    l->pcb = pcb;
    tcp_arg(pcb, l);
    tcp_recv(pcb, on_receive);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, on_poll, POLL_HALF_SECONDS);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb); // the core flushes when a piece is complete
    ip_set_option(pcb, SOF_KEEPALIVE);
    pcb->keep_idle = KEEPALIVE_IDLE_MS;
    pcb->keep_intvl = KEEPALIVE_INTERVAL_MS;
    pcb->keep_cnt = KEEPALIVE_COUNT;
    // A half-open newcomer must not push out one that is being served.
    tcp_setprio(pcb, TCP_PRIO_NORMAL + 1);
    return ERR_OK;
}

static uint64_t poll(struct net_poller *p)
{
    struct lwip_server *s = (struct lwip_server *)p;
    http_server_poll(s->http);
    return http_server_next_ms(s->http);
}

int http_listen(uint16_t port, const struct http_limits *limits, struct http_server **out)
{
    if (!net_on_strand()) {
        log_error("http", "http_listen belongs on the net strand: call it from net_post");
        return -EPERM;
    }
    struct lwip_server *s = calloc(1, sizeof *s);
    struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
    int error = -ENOMEM;
    if (s == NULL || pcb == NULL)
        goto fail;
    if (tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK) {
        error = -EADDRINUSE;
        goto fail;
    }
    struct tcp_pcb *listener = tcp_listen_with_backlog(pcb, BACKLOG); // frees pcb when it succeeds
    if (listener == NULL)
        goto fail;
    pcb = listener;
    s->listener = listener;
    s->http = http_server_new(&lwip_ops, s, limits);
    if (s->http == NULL)
        goto fail;
    s->poller.poll = poll;
    tcp_arg(listener, s);
    tcp_accept(listener, on_accept);
    net_poller_add(&s->poller);
    *out = s->http;
    return 0;
fail:
    if (pcb)
        tcp_close(pcb);
    free(s);
    log_error("http", "cannot listen on port %u: %s", port,
              error == -EADDRINUSE ? "in use" : "out of memory");
    return error;
}
