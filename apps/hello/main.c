// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The smallest server: GET /health over virtio-net, and a few routes that exercise the HTTP server
// (`/echo` returns what it gets, `/stream?N` sends N events, `/stats` shows counters). For trying
// the network stack by hand and for its functional tests.
#include "libos/app.h"
#include "libos/http.h"
#include "libos/log.h"
#include "libos/manifest.h"
#include "libos/mem.h"
#include "libos/net.h"
#include "libos/sched.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char app_name[] = "hello";
const char app_version[] = "0.1.0";

static struct http_server *server;
static struct wake listening = WAKE_INIT, drained = WAKE_INIT;

static void health(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_reply_json(r, 200, "{\"status\":\"ok\"}");
}

static void echo(struct http_request *r, void *ctx)
{
    (void)ctx;
    size_t bytes;
    const char *body = http_body(r, &bytes);
    http_reply(r, 200, "application/octet-stream", body, bytes);
}

static void stats(struct http_request *r, void *ctx)
{
    (void)ctx;
    struct http_stats s;
    struct net_info n;
    struct mem_stats m;
    char json[640];
    http_get_stats(server, &s);
    net_get_info(&n);
    mem_get_stats(&m);
    snprintf(json, sizeof json,
             "{\"connections_total\":%llu,\"connections_now\":%llu,\"requests\":%llu,"
             "\"timeouts\":%llu,\"rejected\":%llu,\"rx_frames\":%llu,\"tx_frames\":%llu,"
             "\"rx_dropped\":%llu,\"tx_dropped\":%llu,\"tcp_active\":%llu,"
             "\"kernel_bytes\":%llu,\"kernel_live\":%llu,\"address\":\"%s\"}",
             (unsigned long long)s.connections_total, (unsigned long long)s.connections_now,
             (unsigned long long)s.requests_total, (unsigned long long)s.timeouts,
             (unsigned long long)s.rejected, (unsigned long long)n.rx_frames,
             (unsigned long long)n.tx_frames, (unsigned long long)n.rx_dropped,
             (unsigned long long)n.tx_dropped, (unsigned long long)n.tcp_active,
             (unsigned long long)m.zone[MEM_KERNEL].used_bytes,
             (unsigned long long)(m.zone[MEM_KERNEL].allocations - m.zone[MEM_KERNEL].frees),
             n.address);
    http_reply_json(r, 200, json);
}

struct events {
    struct http_request *request;
    unsigned long next, count;
};

static void more_events(void *ctx)
{
    struct events *e = ctx;
    char text[64];
    while (e->next < e->count) {
        int n = snprintf(text, sizeof text, "data: event number %lu\n\n", e->next);
        if (http_write(e->request, text, (size_t)n) == -EAGAIN)
            return; // http_on_drain calls again
        e->next++;
    }
    http_end(e->request);
    free(e);
}

static void stream(struct http_request *r, void *ctx)
{
    (void)ctx;
    struct events *e = calloc(1, sizeof *e);
    if (e == NULL) {
        http_reply_error(r, 503, "unavailable_error", "out of memory");
        return;
    }
    e->request = r;
    e->count = strtoul(http_query(r), NULL, 10);
    http_on_gone(r, free, e);
    http_on_drain(r, more_events, e);
    http_begin(r, 200, "text/event-stream");
    more_events(e);
}

// On the net strand, so that no request comes before its route is there.
static void start_server(void *arg)
{
    const struct manifest *m = arg;
    if (http_listen(m->http_port, NULL, &server) == 0) {
        http_set_key(server, m->http_key);
        http_route(server, "GET", "/health", HTTP_PUBLIC, health, NULL);
        http_route(server, "POST", "/echo", 0, echo, NULL);
        http_route(server, "GET", "/stats", 0, stats, NULL);
        http_route(server, "GET", "/stream", 0, stream, NULL);
    }
    wake_set(&listening);
}

static void set_drained(void *ctx)
{
    (void)ctx;
    wake_set(&drained);
}

static void start_drain(void *arg)
{
    (void)arg;
    http_drain(server, 5000, set_drained, NULL);
}

static void drain(void *arg)
{
    (void)arg;
    if (net_post(start_drain, NULL) == 0)
        wake_wait(&drained, 0);
}

int app_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    static struct wake never = WAKE_INIT;
    const struct manifest *m = manifest();
    int error = net_post(start_server, (void *)m);
    if (error)
        return error;
    wake_wait(&listening, 0);
    if (server == NULL)
        return -EIO;
    app_on_shutdown(drain, NULL);
    stage_mark("listening");
    stage_print();
    log_info("hello", "listening on port %u", m->http_port);
    wake_wait(&never, 0);
    return -EIO;
}
