// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Bytes to requests (RFC 9112), by llhttp in strict mode. A scanner of ours finds the end of the
// header first and refuses what proxies in front might read differently: bare CR or LF, NUL, folded
// lines. llhttp never sees a byte of the next message: every request starts with a fresh parser.
#include "libos/net/http_private.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static int refuse(struct http_conn *c, int status, const char *message)
{
    if (c->refuse_status == 0) {
        c->refuse_status = status;
        c->refuse_type = http_error_type(status);
        c->refuse_message = message;
    }
    return HPE_USER;
}

static int add_to_head(struct http_conn *c, const char *at, size_t bytes)
{
    if (http_buffer_append(c->server, &c->request->head, at, bytes, false))
        return refuse(c, 503, "out of memory for this request");
    return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t bytes)
{
    struct http_conn *c = p->data;
    c->in_target = true;
    if (http_buffer_bytes(&c->request->head) + bytes > HTTP_TARGET_MAX)
        return refuse(c, 414, "request target is longer than 8192 bytes");
    return add_to_head(c, at, bytes);
}

// The next field's name, if one comes, starts where the head ends now.
static void open_field(struct http_request *r)
{
    if (r->field_count < HTTP_HEADERS_MAX)
        r->fields[r->field_count].name = (uint32_t)r->head.end;
}

static int on_url_complete(llhttp_t *p)
{
    struct http_conn *c = p->data;
    c->in_target = false;
    if (add_to_head(c, "", 1))
        return HPE_USER;
    open_field(c->request);
    return 0;
}

static int on_header_field(llhttp_t *p, const char *at, size_t bytes)
{
    struct http_conn *c = p->data;
    if (c->header_done)
        return 0; // a trailer: counted as body, otherwise ignored
    if (c->request->field_count == HTTP_HEADERS_MAX)
        return refuse(c, 431, "more than 100 header fields");
    return add_to_head(c, at, bytes);
}

static int on_header_field_complete(llhttp_t *p)
{
    struct http_conn *c = p->data;
    if (c->header_done)
        return 0;
    if (add_to_head(c, "", 1))
        return HPE_USER;
    c->request->fields[c->request->field_count].value = (uint32_t)c->request->head.end;
    return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t bytes)
{
    struct http_conn *c = p->data;
    return c->header_done ? 0 : add_to_head(c, at, bytes);
}

static int on_header_value_complete(llhttp_t *p)
{
    struct http_conn *c = p->data;
    struct http_request *r = c->request;
    if (c->header_done)
        return 0;
    size_t start = r->fields[r->field_count].value;
    while (r->head.end > start &&
           (r->head.data[r->head.end - 1] == ' ' || r->head.data[r->head.end - 1] == '\t'))
        r->head.end--;
    if (add_to_head(c, "", 1))
        return HPE_USER;
    r->field_count++;
    open_field(r);
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct http_conn *c = p->data;
    struct http_request *r = c->request;
    c->header_done = true;
    r->method = p->method;
    r->version_1_0 = p->http_major == 1 && p->http_minor == 0;
    r->keep_alive = llhttp_should_keep_alive(p) != 0;
    r->head_only = p->method == HTTP_HEAD;
    // An offer to upgrade (h2c, websocket) is declined by answering in HTTP/1.1.
    if (p->method != HTTP_CONNECT)
        p->upgrade = 0;
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t bytes)
{
    struct http_conn *c = p->data;
    struct http_buffer *body = &c->request->body;
    if (http_buffer_bytes(body) + bytes > c->server->limits.body_bytes)
        return refuse(c, 413, "request body is larger than this server takes");
    if (http_buffer_append(c->server, body, at, bytes, false))
        return refuse(c, 503, "out of memory for this request's body");
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct http_conn *c = p->data;
    c->message_done = true;
    return HPE_PAUSED;
}

void http_parse_init(llhttp_settings_t *settings)
{
    llhttp_settings_init(settings);
    settings->on_url = on_url;
    settings->on_url_complete = on_url_complete;
    settings->on_header_field = on_header_field;
    settings->on_header_field_complete = on_header_field_complete;
    settings->on_header_value = on_header_value;
    settings->on_header_value_complete = on_header_value_complete;
    settings->on_headers_complete = on_headers_complete;
    settings->on_body = on_body;
    settings->on_message_complete = on_message_complete;
}

enum scan { SCAN_MORE, SCAN_END, SCAN_BAD };

// Looks for the header's end. *n: how many of `bytes` are good header bytes: all, or up to and with
// the empty line, or up to a byte that no header may hold. c->header_tail carries over.
static enum scan scan_header(struct http_conn *c, const char *data, size_t bytes, size_t *n)
{
    for (*n = 0; *n < bytes; ++*n) {
        uint32_t byte = (unsigned char)data[*n];
        uint32_t last = c->header_tail & 0xff;
        if (byte == 0 || (last == '\r' && byte != '\n') || (byte == '\n' && last != '\r'))
            return SCAN_BAD;
        if (last == '\n' && (byte == ' ' || byte == '\t'))
            return SCAN_BAD; // folded line
        c->header_tail = c->header_tail << 8 | byte;
        if (c->header_tail == 0x0d0a0d0a) {
            ++*n;
            return SCAN_END;
        }
    }
    return SCAN_MORE;
}

static bool begin_request(struct http_conn *c)
{
    c->request = http_request_new(c);
    if (c->request == NULL) {
        http_refuse(c, 503, http_error_type(503), "out of memory for another request");
        return false;
    }
    llhttp_init(&c->parser, HTTP_REQUEST, &c->server->settings);
    c->parser.data = c;
    c->begun = true;
    c->header_done = c->message_done = c->in_target = false;
    c->header_tail = 0;
    c->header_used = c->body_raw = 0;
    uint64_t now = c->server->ops->now_ms();
    c->read_deadline = now + c->server->limits.header_ms;
    http_server_deadline(c->server, c->read_deadline);
    return true;
}

// Runs llhttp over `bytes`; returns how many it took. On an error refuse_status is set.
static size_t execute(struct http_conn *c, const char *data, size_t bytes)
{
    llhttp_errno_t error = llhttp_execute(&c->parser, data, bytes);
    if (error == HPE_OK)
        return bytes;
    if (error == HPE_PAUSED && c->message_done) {
        const char *stop = llhttp_get_error_pos(&c->parser);
        return stop >= data && stop <= data + bytes ? (size_t)(stop - data) : bytes;
    }
    if (error == HPE_INVALID_VERSION)
        refuse(c, 505, "HTTP version is not 1.0 or 1.1");
    refuse(c, 400, llhttp_get_error_reason(&c->parser));
    return bytes;
}

static void body_deadline(struct http_conn *c)
{
    const struct http_limits *limits = &c->server->limits;
    uint64_t now = c->server->ops->now_ms();
    uint64_t quiet = now + limits->body_ms;
    uint64_t slow = c->body_started + limits->body_ms + c->body_raw * 1000 / HTTP_BODY_RATE;
    c->read_deadline = quiet < slow ? quiet : slow;
    http_server_deadline(c->server, c->read_deadline);
}

static size_t parse_header(struct http_conn *c, const char *data, size_t bytes)
{
    size_t room = c->server->limits.header_bytes - c->header_used;
    size_t n;
    enum scan scan = scan_header(c, data, bytes < room ? bytes : room, &n);
    bool end = scan == SCAN_END;
    c->header_used += n;
    if (n)
        execute(c, data, n);
    if (scan == SCAN_BAD)
        refuse(c, 400, "bare CR or LF, NUL or folded line in the header");
    if (c->refuse_status)
        return bytes;
    if (c->header_done != end) {
        refuse(c, 400, "malformed header");
    } else if (end) {
        c->body_started = c->server->ops->now_ms();
        if (http_check_header(c) == 0 && http_admit(c) && !c->message_done)
            body_deadline(c);
    } else if (c->header_used == c->server->limits.header_bytes) {
        if (c->in_target)
            refuse(c, 414, "request target is too long");
        else
            refuse(c, 431, "request header is larger than this server takes");
    }
    return n;
}

static size_t parse_body(struct http_conn *c, const char *data, size_t bytes)
{
    size_t n = execute(c, data, bytes);
    c->body_raw += n;
    // Chunk lines, extensions and trailers carry no body byte, but they may not go on for ever.
    if (c->body_raw / 8 > c->server->limits.body_bytes + 8192)
        refuse(c, 413, "chunked framing outweighs the body");
    if (!c->message_done && c->refuse_status == 0)
        body_deadline(c);
    return n;
}

bool http_parse(struct http_conn *c)
{
    size_t taken = 0;
    bool answered = false;
    while (c->state == HTTP_C_READING && !answered && !c->message_done && c->refuse_status == 0) {
        const char *data = c->in.data + c->in.start;
        size_t bytes = http_buffer_bytes(&c->in), n;
        if (bytes == 0)
            break;
        if (!c->begun) {
            // RFC 9112, 2.2: empty lines before a request line are ignored. They do not move
            // deadlines.
            for (n = 0; n < bytes && (data[n] == '\r' || data[n] == '\n'); n++)
                ;
            if (n < bytes && !begin_request(c))
                break;
        } else if (!c->header_done) {
            n = parse_header(c, data, bytes);
            answered = !c->begun;
        } else {
            n = parse_body(c, data, bytes);
        }
        c->in.start += n;
        taken += n;
    }
    if (taken && c->transport)
        c->server->ops->consumed(c->transport, taken);
    if (c->in.start == c->in.end)
        http_buffer_free(c->server, &c->in);
    if (c->refuse_status && c->state == HTTP_C_READING)
        http_refuse(c, c->refuse_status, c->refuse_type, c->refuse_message);
    return answered;
}

static bool all_digits(const char *text)
{
    if (*text == 0)
        return false;
    for (; *text; text++)
        if (*text < '0' || *text > '9')
            return false;
    return true;
}

// RFC 9110, 5.6.2. llhttp lets an empty name pass.
static bool is_token(const char *name)
{
    return *name &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "!#$%&'*+-.^_`|~")] == 0;
}

// RFC 9112, sections 3.2, 6.1 to 6.3: whatever two readers could frame differently is refused.
int http_check_header(struct http_conn *c)
{
    struct http_request *r = c->request;
    unsigned hosts = 0, lengths = 0, codings = 0;
    const char *length = NULL, *coding = NULL;
    for (uint32_t i = 0; i < r->field_count; i++) {
        const char *name = r->head.data + r->fields[i].name;
        const char *value = r->head.data + r->fields[i].value;
        if (!is_token(name))
            refuse(c, 400, "a header field without a proper name");
        if (strcasecmp(name, "host") == 0) {
            hosts++;
        } else if (strcasecmp(name, "content-length") == 0) {
            lengths++;
            length = value;
        } else if (strcasecmp(name, "transfer-encoding") == 0) {
            codings++;
            coding = value;
        } else if (strcasecmp(name, "expect") == 0) {
            if (strcasecmp(value, "100-continue") != 0)
                refuse(c, 417, "Expect is not 100-continue");
            r->expect_continue = !r->version_1_0;
        }
    }
    if (c->refuse_status)
        return c->refuse_status;
    if (c->parser.http_major != 1 || c->parser.http_minor > 1)
        refuse(c, 505, "HTTP version is not 1.0 or 1.1");
    else if (hosts > 1 || (hosts == 0 && !r->version_1_0))
        refuse(c, 400, "the header must hold Host exactly once");
    else if (lengths > 1 || (length && !all_digits(length)))
        refuse(c, 400, "Content-Length must be one decimal number");
    else if (codings && (lengths || r->version_1_0 || codings > 1))
        refuse(c, 400, "Transfer-Encoding with Content-Length, twice, or in HTTP/1.0");
    else if (coding && strcasecmp(coding, "chunked") != 0)
        refuse(c, 501, "Transfer-Encoding other than chunked");
    else if (length && c->parser.content_length > c->server->limits.body_bytes)
        refuse(c, 413, "request body is larger than this server takes");
    return c->refuse_status;
}
