// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The request object: its life and what handlers read from it.
#include "libos/net/http_private.h"

#include <stdlib.h>
#include <strings.h>

struct http_request *http_request_new(struct http_conn *c)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (r) {
        r->server = c->server;
        r->conn = c;
        r->path = r->query = "";
    }
    return r;
}

void http_request_free(struct http_request *r)
{
    if (r == NULL)
        return;
    http_buffer_free(r->server, &r->head);
    http_buffer_free(r->server, &r->body);
    free(r->extra);
    free(r);
}

const char *http_method(const struct http_request *r)
{
    return llhttp_method_name((llhttp_method_t)r->method);
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_query(const struct http_request *r)
{
    return r->query;
}

const char *http_header(const struct http_request *r, const char *name)
{
    for (uint32_t i = 0; i < r->field_count; i++)
        if (strcasecmp(r->head.data + r->fields[i].name, name) == 0)
            return r->head.data + r->fields[i].value;
    return NULL;
}

const char *http_body(const struct http_request *r, size_t *bytes)
{
    if (bytes)
        *bytes = r->body.end ? r->body.end - 1 : 0; // without the NUL that http_dispatch appends
    return r->body.data ? r->body.data : "";
}

void http_on_gone(struct http_request *r, void (*gone)(void *ctx), void *ctx)
{
    r->gone = gone;
    r->gone_ctx = ctx;
    if (r->conn)
        http_conn_ready(r->conn); // the peer may be gone already
}

void http_on_drain(struct http_request *r, void (*drain)(void *ctx), void *ctx)
{
    r->drain = drain;
    r->drain_ctx = ctx;
    if (r->conn)
        http_conn_ready(r->conn);
}
