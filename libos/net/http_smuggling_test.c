// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Requests that two HTTP readers could take apart differently (RFC 9112, 11.2) are refused, the
// connection is closed, and what follows on it is never taken for a request.
//
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
#include "libos/net/http_fake.h"
#include "libos/net/http_test_app.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define POST     "POST /echo HTTP/1.1\r\nHost: t\r\n"
#define SMUGGLED "GET /header HTTP/1.1\r\nHost: t\r\n\r\n"

struct bad {
    int status;
    const char *bytes;
    size_t count; // 0: up to the NUL
};

static const struct bad cases[] = {
    {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: 5, 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: +5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: -5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: 0x5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: 5 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length:\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length: 99999999999999999999999\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "Content-Length : 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST " Content-Length: 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "X: y\r\n Content-Length: 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "X: y\r\n\tz\r\n\r\n" SMUGGLED, 0},
    {400, POST "X: y\rContent-Length: 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "X: y\nContent-Length: 5\r\n\r\nhello" SMUGGLED, 0},
    {400, POST "X: y\n\nhello" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
     0},
    {400,
     POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: identity\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {501, POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n" SMUGGLED,
     0},
    {400, POST "Transfer-Encoding: chunked\r\n\r\n\r\n" SMUGGLED, 0},
    {400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED, 0},
    {400, "GET /health HTTP/1.1\r\n\r\n" SMUGGLED, 0},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" SMUGGLED, 0},
    {505, "GET /health HTTP/2.0\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {505, "GET /health HTTP/1.1 \r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "GET /he alth HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "GET\t/health HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "get /health HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "BOGUS /health HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "CONNECT t:80 HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED, 0},
    {400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SMUGGLED, 0},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\nX\0Y: b\r\n\r\n" SMUGGLED, 74},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n" SMUGGLED, 74},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n" SMUGGLED, 0},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n" SMUGGLED, 0},
    {400, "GET /health HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" SMUGGLED, 0},
    {400, "\x16\x03\x01\x02\x05TLS\r\n\r\n", 0},
    {417, "GET /health HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n" SMUGGLED, 0},
};

static void check(const struct bad *b, size_t piece)
{
    struct test_app app;
    struct fake_client f;
    size_t bytes = b->count ? b->count : strlen(b->bytes);
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    for (size_t at = 0; at < bytes; at += piece)
        fake_send(app.server, &f, b->bytes + at, bytes - at < piece ? bytes - at : piece);
    int status = f.got ? atoi(f.got + 9) : 0;
    if (status != b->status)
        fail_msg("«%s» in pieces of %zu: %d instead of %d", b->bytes, piece, status, b->status);
    if (strstr(f.got, "[none]"))
        fail_msg("«%s» got its second request answered", b->bytes);
    assert_non_null(strstr(f.got, "Connection: close"));
    assert_true(f.shut || f.closed);
    fake_eof(app.server, &f);
    assert_true(f.closed);
    fake_done(&f);
    test_app_stop(&app);
}

static void ambiguous_requests_are_refused_and_end_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(&cases[i], 10000);
        check(&cases[i], 1);
        check(&cases[i], 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ambiguous_requests_are_refused_and_end_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
