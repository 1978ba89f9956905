// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the HTTP core must do for well-behaved clients, and that the answer does not depend on how
// the bytes were split on the way.
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
#include "libos/net/http_fake.h"
#include "libos/net/http_test_app.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

// A second may end between two exchanges.
static void forget_dates(char *text)
{
    for (char *at = text; (at = strstr(at, "Date: ")); at += 6)
        memset(at + 6, '-', strcspn(at + 6, "\r"));
}

static char *exchange(const char *bytes, size_t piece)
{
    struct test_app app;
    test_app_start(&app, NULL);
    struct fake_client f;
    fake_connect(app.server, &f);
    size_t total = strlen(bytes);
    for (size_t at = 0; at < total; at += piece)
        fake_send(app.server, &f, bytes + at, total - at < piece ? total - at : piece);
    fake_eof(app.server, &f);
    char *got = f.got ? f.got : strdup("");
    test_app_stop(&app);
    forget_dates(got);
    return got;
}

static void expect_same_in_any_split(const char *bytes, const char *must_hold)
{
    char *whole = exchange(bytes, strlen(bytes));
    if (must_hold && strstr(whole, must_hold) == NULL)
        fail_msg("wanted «%s» in the answer to «%s», got «%s»", must_hold, bytes, whole);
    for (size_t piece = 1; piece < 40; piece++) {
        char *split = exchange(bytes, piece);
        if (strcmp(whole, split) != 0)
            fail_msg("in pieces of %zu «%s» got «%s» instead of «%s»", piece, bytes, split, whole);
        free(split);
    }
    free(whole);
}

#define HOST "Host: t\r\n"

static void answers_do_not_depend_on_how_bytes_are_split(void **state)
{
    (void)state;
    expect_same_in_any_split("GET /health HTTP/1.1\r\n" HOST "\r\n", "{\"status\":\"ok\"}");
    expect_same_in_any_split("\r\nGET /health HTTP/1.1\r\n" HOST "\r\n", "{\"status\":\"ok\"}");
    expect_same_in_any_split("GET http://t/health?x=1 HTTP/1.1\r\n" HOST "\r\n", "ok");
    expect_same_in_any_split("GET /health HTTP/1.0\r\n\r\n", "Connection: close");
    expect_same_in_any_split("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                             "Connection: keep-alive");
    expect_same_in_any_split("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
                             "\r\n\r\nhello");
    expect_same_in_any_split("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
                             "Content-Length: 0");
    expect_same_in_any_split("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                             "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n",
                             "\r\n\r\nhello world");
    expect_same_in_any_split("POST /echo HTTP/1.1\r\n" HOST
                             "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
                             "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK");
    expect_same_in_any_split("HEAD /health HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 15\r\n");
    expect_same_in_any_split("GET /stream HTTP/1.1\r\n" HOST "\r\n", "Transfer-Encoding: chunked");
    expect_same_in_any_split("GET /stream HTTP/1.0\r\n\r\n", "\r\n\r\ndata: 0\n\ndata: 1\n\n");
    expect_same_in_any_split("GET /header HTTP/1.1\r\n" HOST "X-Test:  a b \t\r\nX-Empty:\r\n\r\n",
                             "\r\n\r\n[a b][]");
    expect_same_in_any_split("GET /none HTTP/1.1\r\n" HOST "\r\n", "404 Not Found");
    expect_same_in_any_split("DELETE /health HTTP/1.1\r\n" HOST "\r\n", "405 Method Not Allowed");
    expect_same_in_any_split("GET /health HTTP/1.1\r\n" HOST
                             "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
                             "200 OK");
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    char bytes[16384] = "";
    for (int i = 0; i < 40; i++)
        sprintf(bytes + strlen(bytes),
                i % 3 == 0   ? "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\n<%02d>"
                : i % 3 == 1 ? "GET /later?%02d HTTP/1.1\r\n" HOST "\r\n"
                             : "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "1\r\n<\r\n3\r\n%02d>\r\n0\r\n\r\n",
                i);
    expect_same_in_any_split(bytes, "<39>");
    char *got = exchange(bytes, sizeof bytes);
    assert_int_equal(count(got, "200 OK"), 40);
    const char *at = got;
    for (int i = 0; i < 40; i++) {
        char want[16];
        sprintf(want, "<%02d>", i);
        at = strstr(at, want);
        assert_non_null(at);
    }
    free(got);
}

static void a_head_answer_has_no_body(void **state)
{
    (void)state;
    char *got = exchange("HEAD /health HTTP/1.1\r\n" HOST "\r\nHEAD /stream HTTP/1.1\r\n" HOST
                         "\r\nGET /health HTTP/1.1\r\n" HOST "\r\n",
                         1000);
    assert_int_equal(count(got, "HTTP/1.1 200 OK"), 3);
    assert_int_equal(count(got, "{\"status\":\"ok\"}"), 1);
    assert_null(strstr(got, "data:"));
    free(got);
}

static void options_grant_what_a_browser_asks(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    http_set_key(app.server, "secret");
    struct fake_client f;
    fake_connect(app.server, &f);
    const char *preflight = "OPTIONS /echo HTTP/1.1\r\n" HOST
                            "Access-Control-Request-Headers: authorization, x-stainless-os\r\n\r\n";
    fake_send(app.server, &f, preflight, strlen(preflight));
    assert_non_null(strstr(f.got, "HTTP/1.1 204"));
    assert_non_null(
        strstr(f.got, "Access-Control-Allow-Headers: authorization, x-stainless-os\r\n"));
    assert_non_null(strstr(f.got, "Access-Control-Allow-Methods: POST, OPTIONS\r\n"));
    assert_non_null(strstr(f.got, "Access-Control-Allow-Origin: *\r\n"));
    assert_null(strstr(f.got, "Content-Length"));
    fake_eof(app.server, &f);
    fake_done(&f);
    test_app_stop(&app);
}

static int status_with(struct test_app *app, const char *path, const char *header)
{
    char bytes[512];
    struct fake_client f;
    fake_connect(app->server, &f);
    snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", path, header);
    fake_send(app->server, &f, bytes, strlen(bytes));
    int status = f.got ? atoi(f.got + 9) : 0;
    fake_eof(app->server, &f);
    fake_done(&f);
    return status;
}

static void the_key_guards_all_but_public_routes(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    assert_int_equal(status_with(&app, "/header", ""), 200);
    http_set_key(app.server, "secret");
    assert_int_equal(status_with(&app, "/health", ""), 200);
    assert_int_equal(status_with(&app, "/header", ""), 401);
    assert_int_equal(status_with(&app, "/unknown", ""), 401);
    assert_int_equal(status_with(&app, "/header", "Authorization: Bearer secret\r\n"), 200);
    assert_int_equal(status_with(&app, "/header", "Authorization: bearer secret\r\n"), 200);
    assert_int_equal(status_with(&app, "/header", "X-Api-Key: secret\r\n"), 200);
    assert_int_equal(status_with(&app, "/unknown", "X-Api-Key: secret\r\n"), 404);
    const char *wrong[] = {"", "secre", "secrets", "secretsecret", "Secret", "xecret"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char header[64];
        snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", wrong[i]);
        assert_int_equal(status_with(&app, "/header", header), 401);
        snprintf(header, sizeof header, "X-Api-Key: %s\r\n", wrong[i]);
        assert_int_equal(status_with(&app, "/header", header), 401);
    }
    assert_int_equal(status_with(&app, "/header", "Authorization: Basic secret\r\n"), 401);
    test_app_stop(&app);
}

static void a_stream_is_held_back_and_drained(void **state)
{
    (void)state;
    struct http_limits limits = {.send_bytes = 1000};
    struct test_app app;
    test_app_start(&app, &limits);
    struct fake_client f;
    fake_connect(app.server, &f);
    f.room = 0;
    const char *get = "GET /flood HTTP/1.1\r\n" HOST "\r\n";
    fake_send(app.server, &f, get, strlen(get));
    assert_int_equal(app.flood_refused, 1);
    size_t sent = app.flood_left;
    assert_true(sent > 0 && sent < 1000);
    for (int i = 0; i < 10000 && app.flood_left; i++)
        fake_take(app.server, &f, 700);
    assert_int_equal(app.flood_left, 0);
    fake_take(app.server, &f, 100000);
    assert_int_equal(count(f.got, "0123456789"), 1000);
    assert_non_null(strstr(f.got, "\r\n0\r\n\r\n"));
    fake_eof(app.server, &f);
    fake_done(&f);
    test_app_stop(&app);
}

static void a_vanished_client_is_told_once(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    const char *get = "GET /wait HTTP/1.1\r\n" HOST "\r\n";
    for (int how = 0; how < 3; how++) {
        struct fake_client f;
        fake_connect(app.server, &f);
        fake_send(app.server, &f, get, strlen(get));
        assert_non_null(app.waiting);
        app.gone_calls = 0;
        if (how == 0) {
            fake_reset(app.server, &f);
        } else if (how == 1) {
            fake_eof(app.server, &f); // on_gone is set: the end of input counts
            assert_true(f.aborted);
        } else {
            http_begin(app.waiting, 200, "text/event-stream");
            f.broken = true;
            http_write(app.waiting, "x", 1);
            fake_settle(app.server);
        }
        assert_int_equal(app.gone_calls, 1);
        assert_null(app.waiting);
        fake_time(app.server, 100000);
        assert_int_equal(app.gone_calls, 1);
        fake_done(&f);
    }
    struct http_stats stats;
    http_get_stats(app.server, &stats);
    assert_int_equal(stats.connections_now, 0);
    test_app_stop(&app);
}

static void a_handler_that_never_asked_may_answer_a_vanished_client(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    struct fake_client f;
    fake_connect(app.server, &f);
    const char *get = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    fake_send(app.server, &f, get, strlen(get));
    fake_reset(app.server, &f);
    assert_non_null(app.held);
    http_begin(app.held, 200, "text/plain");
    assert_int_equal(http_write(app.held, "x", 1), -EPIPE);
    http_end(app.held);
    fake_done(&f);
    test_app_stop(&app);
}

static void a_half_closed_client_gets_its_answer(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    struct fake_client f;
    fake_connect(app.server, &f);
    const char *get = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    fake_send(app.server, &f, get, strlen(get));
    fake_eof(app.server, &f);
    assert_false(f.closed);
    http_reply_json(app.held, 200, "{}");
    fake_settle(app.server);
    assert_non_null(strstr(f.got, "\r\n\r\n{}"));
    assert_true(f.closed);
    fake_done(&f);
    test_app_stop(&app);
}

static void on_drained(void *ctx)
{
    ++*(int *)ctx;
}

static void a_drain_answers_what_runs_and_refuses_the_rest(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    struct fake_client busy, idle, late;
    fake_connect(app.server, &busy);
    fake_connect(app.server, &idle);
    fake_connect(app.server, &late);
    const char *hold = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    const char *health = "GET /health HTTP/1.1\r\n" HOST "\r\n";
    fake_send(app.server, &busy, hold, strlen(hold));
    int drained = 0;
    fake_stopped = false;
    http_drain(app.server, 5000, on_drained, &drained);
    fake_settle(app.server);
    assert_true(fake_stopped);
    fake_send(app.server, &late, health, strlen(health));
    assert_non_null(strstr(late.got, "HTTP/1.1 503"));
    assert_non_null(strstr(late.got, "Connection: close"));
    assert_false(idle.closed);
    http_reply_json(app.held, 200, "{}");
    fake_settle(app.server);
    assert_non_null(strstr(busy.got, "HTTP/1.1 200"));
    assert_non_null(strstr(busy.got, "Connection: close"));
    assert_true(busy.closed);
    assert_true(idle.closed);
    fake_eof(app.server, &late);
    assert_true(late.closed);
    assert_int_equal(drained, 1);
    fake_done(&busy);
    fake_done(&idle);
    fake_done(&late);
    test_app_stop(&app);
}

static void a_drain_ends_at_its_deadline(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    struct fake_client busy;
    fake_connect(app.server, &busy);
    const char *hold = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    fake_send(app.server, &busy, hold, strlen(hold));
    int drained = 0;
    http_drain(app.server, 5000, on_drained, &drained);
    fake_time(app.server, 4999);
    assert_int_equal(drained, 0);
    fake_time(app.server, 1);
    assert_int_equal(drained, 1);
    assert_true(busy.aborted);
    assert_true(http_server_next_ms(app.server) > fake_now);
    http_reply_json(app.held, 200, "{}");
    fake_settle(app.server);
    assert_int_equal(drained, 1);
    fake_done(&busy);
    test_app_stop(&app);
}

static void an_error_message_is_valid_json(void **state)
{
    (void)state;
    char *got = exchange("GET /error HTTP/1.1\r\n" HOST "\r\n", 1000);
    assert_non_null(strstr(got, "\r\n\r\n{\"error\":{\"code\":400,\"message\":\"a \\\"b\\\" \\\\ "
                                "\\u000a\",\"type\":\"invalid_request_error\"}}"));
    free(got);
    got = exchange("GET /error?long HTTP/1.1\r\n" HOST "\r\n", 1000);
    assert_non_null(strstr(got, "\xc3\xa9\",\"type\""));
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_depend_on_how_bytes_are_split),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_head_answer_has_no_body),
        cmocka_unit_test(options_grant_what_a_browser_asks),
        cmocka_unit_test(the_key_guards_all_but_public_routes),
        cmocka_unit_test(a_stream_is_held_back_and_drained),
        cmocka_unit_test(a_vanished_client_is_told_once),
        cmocka_unit_test(a_handler_that_never_asked_may_answer_a_vanished_client),
        cmocka_unit_test(a_half_closed_client_gets_its_answer),
        cmocka_unit_test(a_drain_answers_what_runs_and_refuses_the_rest),
        cmocka_unit_test(a_drain_ends_at_its_deadline),
        cmocka_unit_test(an_error_message_is_valid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
