// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Answers: head, body, chunked streams, errors in the OpenAI API's shape.
#include "libos/net/http_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *http_status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return status < 300 ? "OK" : status < 500 ? "Bad Request" : "Error";
    }
}

const char *http_error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 500:
        return "server_error";
    case 501:
        return "not_supported_error";
    case 503:
        return "unavailable_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

static void count_answer(struct http_server *s, int status)
{
    if (status < 400)
        s->stats.responses_2xx++;
    else if (status < 500)
        s->stats.responses_4xx++;
    else
        s->stats.responses_5xx++;
}

// `length` < 0: a stream. Lines of `extra` end with CR LF.
static bool queue_head(struct http_conn *c, int status, const char *type, long long length,
                       bool chunked, const char *connection, const char *extra, size_t extra_bytes)
{
    char head[640];
    char framing[64] = "";
    if (chunked)
        snprintf(framing, sizeof framing, "Transfer-Encoding: chunked\r\n");
    else if (length >= 0 && status != 204 && status != 304)
        snprintf(framing, sizeof framing, "Content-Length: %lld\r\n", length);
    bool stream = type && strcmp(type, "text/event-stream") == 0;
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nServer: Tessera\r\n%s%s%.100s%s%s%s%s"
                     "Access-Control-Allow-Origin: *\r\n",
                     status, http_status_text(status), http_server_date(c->server),
                     type ? "Content-Type: " : "", type ? type : "", type ? "\r\n" : "", framing,
                     connection, stream ? "Cache-Control: no-cache\r\n" : "");
    count_answer(c->server, status);
    return http_conn_queue(c, head, (size_t)n) && http_conn_queue(c, extra, extra_bytes) &&
           http_conn_queue(c, "\r\n", 2);
}

static const char *connection_line(const struct http_request *r)
{
    if (!r->keep_alive)
        return "Connection: close\r\n";
    return r->version_1_0 ? "Connection: keep-alive\r\n" : "";
}

static bool may_answer(const struct http_request *r)
{
    return r->state == HTTP_R_HANDED && r->conn && !r->conn->lost;
}

void http_reply(struct http_request *r, int status, const char *type, const void *body,
                size_t bytes)
{
    if (r->state != HTTP_R_HANDED)
        return;
    if (may_answer(r)) {
        struct http_conn *c = r->conn;
        if (r->server->draining)
            r->keep_alive = false;
        bool bodiless = r->head_only || status == 204 || status == 304;
        if (queue_head(c, status, type, (long long)bytes, false, connection_line(r), r->extra,
                       r->extra_bytes) &&
            !bodiless)
            http_conn_queue(c, body, bytes);
    }
    http_answered(r);
}

void http_reply_json(struct http_request *r, int status, const char *json)
{
    http_reply(r, status, "application/json; charset=utf-8", json, strlen(json));
}

// JSON string contents (RFC 8259, section 7), cut at a whole character when out of room.
static void escape(char *out, size_t room, const char *text)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 7 < room; p++) {
        if (*p == '"' || *p == '\\') {
            out[n++] = '\\';
            out[n++] = (char)*p;
        } else if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(out + n, room - n, "\\u%04x", *p);
        } else {
            out[n++] = (char)*p;
        }
    }
    // The last character may have lost its tail, here or when the message was formatted.
    size_t lead = n;
    while (lead > 0 && lead + 4 > n && ((unsigned char)out[lead - 1] & 0xc0) == 0x80) {
        lead--;
    }
    unsigned char first = lead > 0 ? (unsigned char)out[lead - 1] : 0;
    size_t whole = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    if (lead > 0 && first >= 0xc0 && n - (lead - 1) < whole) {
        n = lead - 1;
    }
    out[n] = 0;
}

static size_t error_json(char *out, size_t room, int status, const char *type, const char *message)
{
    char text[1024];
    escape(text, sizeof text, message);
    int n = snprintf(out, room, "{\"error\":{\"code\":%d,\"message\":\"%s\",\"type\":\"%s\"}}",
                     status, text, type ? type : http_error_type(status));
    return (size_t)n < room ? (size_t)n : room - 1;
}

void http_reply_error(struct http_request *r, int status, const char *type, const char *format, ...)
{
    char message[800], json[1280];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t n = error_json(json, sizeof json, status, type, message);
    http_reply(r, status, "application/json; charset=utf-8", json, n);
}

int http_add_header(struct http_request *r, const char *name, const char *value)
{
    size_t bytes = strlen(name) + strlen(value) + 4;
    if (strpbrk(name, "\r\n: ") || strpbrk(value, "\r\n") || r->extra_bytes + bytes > 2048)
        return -EINVAL;
    char *extra = realloc(r->extra, r->extra_bytes + bytes + 1);
    if (extra == NULL)
        return -ENOMEM;
    r->extra = extra;
    snprintf(extra + r->extra_bytes, bytes + 1, "%s: %s\r\n", name, value);
    r->extra_bytes += bytes;
    return 0;
}

void http_begin(struct http_request *r, int status, const char *type)
{
    if (r->state != HTTP_R_HANDED)
        return;
    if (may_answer(r)) {
        // HTTP/1.0 has no chunks: the end of the connection ends the stream.
        r->chunked = !r->version_1_0;
        if (r->version_1_0 || r->server->draining)
            r->keep_alive = false;
        queue_head(r->conn, status, type, -1, r->chunked, connection_line(r), r->extra,
                   r->extra_bytes);
    }
    r->state = HTTP_R_STREAMING;
}

int http_write(struct http_request *r, const void *data, size_t bytes)
{
    if (r->state != HTTP_R_STREAMING)
        return -EINVAL;
    struct http_conn *c = r->conn;
    if (c == NULL || c->lost)
        return -EPIPE;
    if (bytes == 0 || r->head_only)
        return 0;
    size_t waiting = http_buffer_bytes(&c->out);
    if (waiting && (waiting + bytes > c->server->limits.send_bytes ||
                    c->server->memory + bytes > http_stream_memory(c->server))) {
        r->wants_drain = true;
        return -EAGAIN;
    }
    char size[24];
    int n = snprintf(size, sizeof size, "%zx\r\n", bytes);
    bool queued = (!r->chunked || http_conn_queue(c, size, (size_t)n)) &&
                  http_conn_queue(c, data, bytes) && (!r->chunked || http_conn_queue(c, "\r\n", 2));
    return queued ? 0 : -EPIPE;
}

void http_end(struct http_request *r)
{
    if (r->state != HTTP_R_STREAMING)
        return;
    if (r->conn && !r->conn->lost && r->chunked && !r->head_only)
        http_conn_queue(r->conn, "0\r\n\r\n", 5);
    http_answered(r);
}

void http_refuse(struct http_conn *c, int status, const char *type, const char *message)
{
    char json[1280];
    struct http_request *r = c->request;
    bool head_only = r && c->header_done && r->head_only;
    size_t n = error_json(json, sizeof json, status, type, message ? message : "malformed request");
    if (r)
        c->server->stats.requests_total++;
    http_request_free(r);
    c->request = NULL;
    if (queue_head(c, status, "application/json; charset=utf-8", (long long)n, false,
                   "Connection: close\r\n", "", 0) &&
        !head_only)
        http_conn_queue(c, json, n);
    c->state = HTTP_C_CLOSING;
    c->linger_wanted = true;
    c->read_deadline = 0;
}
