// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From a complete header to a handler: path, CORS preflight, API key, route. What is refused here
// is refused before the body is read.
#include "libos/net/http_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int http_route(struct http_server *s, const char *method, const char *path, unsigned flags,
               http_handler handler, void *ctx)
{
    int number = -1;
    for (int m = 0; m <= HTTP_PATCH; m++) {
        const char *name = llhttp_method_name((llhttp_method_t)m);
        if (name && strcmp(name, method) == 0)
            number = m;
    }
    if (number < 0 || path[0] != '/' || handler == NULL)
        return -EINVAL;
    struct http_route *route = calloc(1, sizeof *route);
    char *copy = strdup(path);
    if (route == NULL || copy == NULL) {
        free(route);
        free(copy);
        return -ENOMEM;
    }
    *route = (struct http_route){s->routes, copy, (uint8_t)number, flags, handler, ctx};
    s->routes = route;
    return 0;
}

void http_set_key(struct http_server *s, const char *key)
{
    free(s->key);
    s->key = key && *key ? strdup(key) : NULL;
    // A key that could not be stored must not open the door.
    s->locked = key && *key && s->key == NULL;
}

// Time depends on the length of what was offered only, not on how much of it is right.
bool http_key_matches(const char *key, const char *offered)
{
    size_t key_bytes = strlen(key), bytes = strlen(offered);
    volatile unsigned char difference = key_bytes != bytes;
    for (size_t i = 0; i < bytes; i++)
        difference |= (unsigned char)(key[key_bytes ? i % key_bytes : 0] ^ offered[i]);
    return difference == 0;
}

static bool authorised(const struct http_request *r)
{
    const struct http_server *s = r->server;
    if (s->locked)
        return false;
    if (s->key == NULL)
        return true;
    const char *bearer = http_header(r, "authorization");
    if (bearer && strncasecmp(bearer, "bearer ", 7) == 0) {
        bearer += 7;
        bearer += strspn(bearer, " ");
        if (http_key_matches(s->key, bearer))
            return true;
    }
    const char *key = http_header(r, "x-api-key");
    return key && http_key_matches(s->key, key);
}

// RFC 9112, section 3.2: origin form, absolute form, or "*". Splits path and query in place.
static bool split_target(struct http_request *r)
{
    char *target = r->head.data;
    if (*target != '/' && strcmp(target, "*") != 0) {
        char *authority = strstr(target, "://");
        if (authority == NULL)
            return false;
        target = authority + 3 + strcspn(authority + 3, "/?");
        if (*target == 0)
            target = NULL;
    }
    r->path = "/";
    if (target && *target != '?')
        r->path = target;
    if (target) {
        char *fragment = strchr(target, '#');
        if (fragment)
            *fragment = 0;
        char *query = strchr(target, '?');
        if (query) {
            *query = 0;
            r->query = query + 1;
        }
    }
    return true;
}

static bool known_path(const struct http_server *s, const char *path)
{
    for (const struct http_route *route = s->routes; route; route = route->next)
        if (strcmp(route->path, path) == 0)
            return true;
    return false;
}

// "GET, HEAD, OPTIONS" of one path; "*" has them all.
static void allowed_methods(const struct http_server *s, const char *path, char *out, size_t room)
{
    size_t n = 0;
    if (strcmp(path, "*") == 0) {
        snprintf(out, room, "GET, HEAD, POST, OPTIONS");
        return;
    }
    for (const struct http_route *route = s->routes; route; route = route->next)
        if (strcmp(route->path, path) == 0 && n + 32 < room)
            n += (size_t)snprintf(out + n, room - n, "%s, %s",
                                  llhttp_method_name((llhttp_method_t)route->method),
                                  route->method == HTTP_GET ? "HEAD, " : "");
    snprintf(out + n, room - n, "OPTIONS");
}

// Header names a browser asks for are granted as asked, if they are such; else the usual ones.
static const char *granted_headers(const struct http_request *r)
{
    const char *asked = http_header(r, "access-control-request-headers");
    if (asked && *asked && strlen(asked) < 1024 &&
        asked[strspn(asked,
                     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ")] == 0)
        return asked;
    return "Authorization, Content-Type, X-Api-Key";
}

static void answer_options(struct http_request *r)
{
    char methods[160];
    allowed_methods(r->server, r->path, methods, sizeof methods);
    http_add_header(r, "Allow", methods);
    http_add_header(r, "Access-Control-Allow-Methods", methods);
    http_add_header(r, "Access-Control-Allow-Headers", granted_headers(r));
    http_add_header(r, "Access-Control-Max-Age", "86400");
    http_reply(r, 204, NULL, NULL, 0);
}

static struct http_route *find_route(struct http_request *r)
{
    uint8_t method = r->method == HTTP_HEAD ? HTTP_GET : r->method;
    for (struct http_route *route = r->server->routes; route; route = route->next)
        if (route->method == method && strcmp(route->path, r->path) == 0)
            return route;
    return NULL;
}

// From here on the answer is owed.
static void hand_over(struct http_conn *c)
{
    c->state = HTTP_C_BUSY;
    c->read_deadline = 0;
    c->request->state = HTTP_R_HANDED;
    c->server->running++;
    c->server->stats.requests_total++;
}

bool http_admit(struct http_conn *c)
{
    struct http_request *r = c->request;
    struct http_server *s = c->server;
    if (s->draining) {
        http_refuse(c, 503, http_error_type(503), "shutting down");
        return false;
    }
    if (r->method == HTTP_CONNECT || !split_target(r)) {
        http_refuse(c, 400, http_error_type(400), "request target is not a path");
        return false;
    }
    r->route = find_route(r);
    bool known = r->route != NULL || known_path(s, r->path) || strcmp(r->path, "*") == 0;
    bool options = r->method == HTTP_OPTIONS && known && r->route == NULL;
    bool may = options || (r->route && (r->route->flags & HTTP_PUBLIC)) || authorised(r);
    if (may && r->route) {
        if (r->expect_continue && !c->message_done)
            http_conn_queue(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        return true;
    }
    if (!c->message_done) { // its body will not be read
        r->keep_alive = false;
        c->linger_wanted = true;
    }
    hand_over(c);
    if (options) {
        answer_options(r);
    } else if (!may) {
        http_add_header(r, "WWW-Authenticate", "Bearer");
        http_reply_error(r, 401, http_error_type(401), "Invalid API key");
    } else if (known) {
        char methods[160];
        allowed_methods(s, r->path, methods, sizeof methods);
        http_add_header(r, "Allow", methods);
        http_reply_error(r, 405, http_error_type(405), "%s is not allowed here, only %s",
                         http_method(r), methods);
    } else {
        http_reply_error(r, 404, http_error_type(404), "%s does not exist", r->path);
    }
    return false;
}

void http_dispatch(struct http_conn *c)
{
    struct http_request *r = c->request;
    if (http_buffer_append(c->server, &r->body, "", 1, true)) {
        http_refuse(c, 503, http_error_type(503), "out of memory for this request");
        return;
    }
    hand_over(c);
    r->route->handler(r, r->route->ctx);
}
