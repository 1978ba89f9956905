// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The small application that the HTTP core's tests and fuzzer talk to.
#ifndef LIBOS_NET_HTTP_TEST_APP_H
#define LIBOS_NET_HTTP_TEST_APP_H

#include "libos/net/http_fake.h"

struct test_app {
    struct http_server *server;
    struct http_request *held;    // GET /hold: answered by the test
    struct http_request *waiting; // GET /wait: with on_gone
    unsigned gone_calls, flood_refused;
    struct http_request *flood;
    size_t flood_left;
};

static void app_health(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_reply_json(r, 200, "{\"status\":\"ok\"}");
}
static void app_echo(struct http_request *r, void *ctx)
{
    (void)ctx;
    size_t bytes;
    const char *body = http_body(r, &bytes);
    http_reply(r, 200, "text/plain", body, bytes);
}
static void app_header(struct http_request *r, void *ctx)
{
    (void)ctx;
    char text[600];
    const char *a = http_header(r, "x-test"), *b = http_header(r, "X-EMPTY");
    snprintf(text, sizeof text, "[%s][%s]", a ? a : "none", b ? b : "none");
    http_reply(r, 200, "text/plain", text, strlen(text));
}
static void app_error(struct http_request *r, void *ctx)
{
    (void)ctx;
    if (strcmp(http_query(r), "long") == 0) { // cut in the middle of a character
        char text[1200] = "";
        for (size_t i = 0; i + 2 < sizeof text; i += 2) {
            memcpy(text + i, "\xc3\xa9", 3);
        }
        http_reply_error(r, 400, "invalid_request_error", "%s%s", text, "");
        return;
    }
    http_reply_error(r, 400, "invalid_request_error", "a \"b\" \\ \n");
}
static void app_stream(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_begin(r, 200, "text/event-stream");
    http_write(r, "data: 0\n\n", 9);
    http_write(r, "", 0);
    http_write(r, "data: 1\n\n", 9);
    http_end(r);
}
static void app_hold(struct http_request *r, void *ctx)
{
    ((struct test_app *)ctx)->held = r;
}
static void app_gone(void *ctx)
{
    struct test_app *app = ctx;
    app->waiting = NULL;
    app->gone_calls++;
}
static void app_wait(struct http_request *r, void *ctx)
{
    ((struct test_app *)ctx)->waiting = r;
    http_on_gone(r, app_gone, ctx);
}
// A stream whose text comes from the query.
static void app_later(struct http_request *r, void *ctx)
{
    (void)ctx;
    char text[64];
    snprintf(text, sizeof text, "<%.40s>", http_query(r));
    http_begin(r, 200, "text/plain");
    http_write(r, text, strlen(text));
    http_end(r);
}
static void app_flood_more(void *ctx)
{
    struct test_app *app = ctx;
    while (app->flood_left) {
        int error = http_write(app->flood, "0123456789", 10);
        if (error == -EAGAIN) {
            app->flood_refused++;
            return;
        }
        app->flood_left--;
    }
    http_end(app->flood);
}
static void app_flood(struct http_request *r, void *ctx)
{
    struct test_app *app = ctx;
    app->flood = r;
    app->flood_left = 1000;
    http_on_drain(r, app_flood_more, app);
    http_begin(r, 200, "text/plain");
    app_flood_more(app);
}

static inline void test_app_start(struct test_app *app, const struct http_limits *limits)
{
    memset(app, 0, sizeof *app);
    struct http_server *s = app->server = http_server_new(&fake_ops, NULL, limits);
    http_route(s, "GET", "/health", HTTP_PUBLIC, app_health, app);
    http_route(s, "POST", "/echo", 0, app_echo, app);
    http_route(s, "GET", "/header", 0, app_header, app);
    http_route(s, "GET", "/error", 0, app_error, app);
    http_route(s, "GET", "/stream", 0, app_stream, app);
    http_route(s, "GET", "/hold", 0, app_hold, app);
    http_route(s, "GET", "/wait", 0, app_wait, app);
    http_route(s, "GET", "/later", 0, app_later, app);
    http_route(s, "GET", "/flood", 0, app_flood, app);
}

static inline void test_app_stop(struct test_app *app)
{
    fake_settle(app->server);
    http_server_free(app->server);
}

#endif
