// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Limits and time-outs: what is too much, too slow or too many ends and costs nobody else.
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

#define HOST "Host: t\r\n"
static const char health[] = "GET /health HTTP/1.1\r\n" HOST "\r\n";

static void say(struct test_app *app, struct fake_client *f, const char *text)
{
    fake_send(app->server, f, text, strlen(text));
}

static int status_of(const struct fake_client *f)
{
    return f->got ? atoi(f->got + 9) : 0;
}

static struct http_stats stats_of(const struct test_app *app)
{
    struct http_stats stats;
    http_get_stats(app->server, &stats);
    return stats;
}

// Sends `head`, then `filler` again and again, until an answer comes or `most` bytes went.
static int status_when_too_much(const char *head, const char *filler, size_t most)
{
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    say(&app, &f, head);
    for (size_t sent = 0; sent < most && f.got == NULL; sent += strlen(filler))
        say(&app, &f, filler);
    int status = status_of(&f);
    assert_true(f.shut); // the answer can be read although input was not
    assert_non_null(strstr(f.got, "Connection: close"));
    fake_time(app.server, HTTP_LINGER_MS);
    assert_true(f.closed);
    assert_int_equal(stats_of(&app).connections_now, 0);
    assert_int_equal(app.server->memory, 0);
    fake_done(&f);
    test_app_stop(&app);
    return status;
}

static void too_large_requests_are_refused(void **state)
{
    (void)state;
    assert_int_equal(status_when_too_much("GET /", "aaaaaaaaaaaaaaaa", 40000), 414);
    assert_int_equal(status_when_too_much("GET / HTTP/1.1\r\nX: ", "aaaaaaaaaaaaaaaa", 40000), 431);
    assert_int_equal(status_when_too_much("GET / HTTP/1.1\r\n", "A: b\r\n", 40000), 431);
    assert_int_equal(status_when_too_much(
                         "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4194305\r\n\r\n", "x", 1),
                     413);
    assert_int_equal(
        status_when_too_much("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
                             "400\r\n"
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                             X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 "\r\n",
                             6 << 20),
        413);
    assert_int_equal(status_when_too_much("POST /echo HTTP/1.1\r\n" HOST
                                          "Transfer-Encoding: chunked\r\n\r\n1;",
                                          X64 X64 X64 X64 X64 X64 X64 X64, 64 << 20),
                     413);
}

static void a_body_at_the_limit_is_taken(void **state)
{
    (void)state;
    struct http_limits limits = {.body_bytes = 100000};
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, &limits);
    char *body = malloc(100000);
    memset(body, 'x', 100000);
    fake_connect(app.server, &f);
    say(&app, &f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    fake_send(app.server, &f, body, 100000);
    assert_int_equal(status_of(&f), 200);
    fake_eof(app.server, &f);
    fake_done(&f);
    free(body);
    test_app_stop(&app);
}

static void a_slow_header_is_timed_out(void **state)
{
    (void)state;
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    say(&app, &f, "GET / HTTP/1.1\r\n");
    for (int s = 0; s < 9; s++) { // a line a second does not buy time
        fake_time(app.server, 1000);
        say(&app, &f, "A: b\r\n");
    }
    assert_null(f.got);
    fake_time(app.server, 1000);
    assert_int_equal(status_of(&f), 408);
    fake_time(app.server, HTTP_LINGER_MS);
    assert_true(f.closed);
    fake_done(&f);
    // One that says nothing at all, or just empty lines, is closed without a word.
    fake_connect(app.server, &f);
    for (int s = 0; s < 9; s++) {
        fake_time(app.server, 1000);
        say(&app, &f, "\r\n");
    }
    fake_time(app.server, 1000);
    assert_true(f.closed);
    assert_null(f.got);
    assert_int_equal(stats_of(&app).connections_now, 0);
    test_app_stop(&app);
}

static void a_slow_body_is_timed_out(void **state)
{
    (void)state;
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    say(&app, &f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    fake_time(app.server, 19999);
    assert_null(f.got);
    fake_time(app.server, 1);
    assert_int_equal(status_of(&f), 408);
    fake_done(&f);
    // A byte a second stays below body_ms between bytes but below the least rate too.
    fake_connect(app.server, &f);
    say(&app, &f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    unsigned seconds = 0;
    for (; f.got == NULL && seconds < 100; seconds++) {
        say(&app, &f, "x");
        fake_time(app.server, 1000);
    }
    assert_int_equal(status_of(&f), 408);
    assert_in_range(seconds, 19, 21);
    fake_time(app.server, HTTP_LINGER_MS);
    fake_done(&f);
    // 1 KB/s is slow but honest.
    fake_connect(app.server, &f);
    say(&app, &f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 102400\r\n\r\n");
    char kilobyte[1025];
    memset(kilobyte, 'x', 1024);
    kilobyte[1024] = 0;
    for (int s = 0; s < 100; s++) {
        assert_null(f.got);
        say(&app, &f, kilobyte);
        fake_time(app.server, 1000);
    }
    assert_int_equal(status_of(&f), 200);
    fake_eof(app.server, &f);
    fake_done(&f);
    test_app_stop(&app);
}

static void an_idle_connection_is_closed(void **state)
{
    (void)state;
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    say(&app, &f, health);
    fake_time(app.server, 59999);
    assert_false(f.closed);
    say(&app, &f, health); // begins anew
    fake_time(app.server, 59999);
    assert_false(f.closed);
    fake_time(app.server, 1);
    assert_true(f.closed);
    fake_done(&f);
    test_app_stop(&app);
}

static void a_client_that_does_not_read_is_reset(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    for (int how = 0; how < 3; how++) {
        struct fake_client f;
        fake_connect(app.server, &f);
        if (how == 2)
            f.keep_hold = true; // taken by TCP, never acknowledged
        else
            f.room = 100;
        say(&app, &f, "GET /flood HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        for (int s = 0; s < 29; s++) {
            fake_time(app.server, 1000);
            if (how == 1)
                fake_take(app.server, &f, 1); // a byte a second is not reading
        }
        assert_false(f.aborted);
        fake_time(app.server, 1000);
        assert_true(f.aborted);
        fake_done(&f);
    }
    assert_int_equal(stats_of(&app).timeouts, 3);
    assert_int_equal(stats_of(&app).connections_now, 0);
    test_app_stop(&app);
}

static void a_slow_but_steady_reader_gets_all(void **state)
{
    (void)state;
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, NULL);
    fake_connect(app.server, &f);
    f.room = 0;
    say(&app, &f, "GET /flood HTTP/1.0\r\n\r\n");
    for (int i = 0; i < 12 && !f.closed; i++) {
        fake_time(app.server, 20000);
        fake_take(app.server, &f, 1100);
    }
    assert_true(f.closed);
    assert_false(f.aborted);
    fake_done(&f);
    test_app_stop(&app);
}

static void one_connection_too_many_is_told_so(void **state)
{
    (void)state;
    struct http_limits limits = {.connections = 3};
    struct test_app app;
    struct fake_client f[3], extra[HTTP_REJECTED_MAX], last;
    test_app_start(&app, &limits);
    for (int i = 0; i < 3; i++)
        fake_connect(app.server, &f[i]);
    for (int i = 0; i < HTTP_REJECTED_MAX; i++) {
        fake_connect(app.server, &extra[i]);
        assert_int_equal(status_of(&extra[i]), 503);
        assert_true(extra[i].shut);
    }
    fake_connect(app.server, &last);
    assert_null(last.conn); // the transport resets it
    say(&app, &f[0], health);
    assert_int_equal(status_of(&f[0]), 200);
    fake_time(app.server, HTTP_LINGER_MS);
    for (int i = 0; i < HTTP_REJECTED_MAX; i++) {
        assert_true(extra[i].closed);
        fake_done(&extra[i]);
    }
    fake_eof(app.server, &f[1]);
    fake_connect(app.server, &last);
    say(&app, &last, health);
    assert_int_equal(status_of(&last), 200);
    fake_done(&last);
    fake_done(&f[0]);
    test_app_stop(&app);
}

static void a_full_server_evicts_who_keeps_it_waiting(void **state)
{
    (void)state;
    struct http_limits limits = {.connections = 3};
    struct test_app app;
    struct fake_client slow, idle, busy, last;
    test_app_start(&app, &limits);
    fake_connect(app.server, &busy);
    say(&app, &busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fake_connect(app.server, &slow);
    say(&app, &slow, "GET / HTTP/1.1\r\nA: ");
    fake_time(app.server, 500);
    fake_connect(app.server, &idle);
    say(&app, &idle, health);
    fake_connect(app.server, &last); // nobody has waited long yet
    assert_int_equal(status_of(&last), 503);
    fake_done(&last);
    fake_time(app.server, 600);
    say(&app, &slow, "b\r\nC: ");
    fake_connect(app.server, &last);
    say(&app, &last, health);
    assert_int_equal(status_of(&last), 200);
    assert_true(slow.aborted);
    assert_false(idle.aborted);
    fake_done(&last);
    fake_time(app.server, 1500);
    fake_connect(app.server, &last);
    assert_true(idle.aborted);
    assert_false(busy.aborted);
    http_reply_json(app.held, 200, "{}");
    fake_settle(app.server);
    assert_int_equal(status_of(&busy), 200);
    fake_done(&slow);
    fake_done(&idle);
    fake_done(&busy);
    fake_done(&last);
    test_app_stop(&app);
}

static void memory_of_all_connections_is_bounded(void **state)
{
    (void)state;
    struct http_limits limits = {.memory_bytes = 1 << 20, .body_bytes = 1 << 20};
    struct test_app app;
    struct fake_client f[8];
    test_app_start(&app, &limits);
    char *body = malloc(500000);
    memset(body, 'x', 500000);
    unsigned refused = 0;
    for (int i = 0; i < 8; i++) {
        fake_connect(app.server, &f[i]);
        say(&app, &f[i], "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 500001\r\n\r\n");
        fake_send(app.server, &f[i], body, 500000);
        assert_true(app.server->memory <= (1 << 20) + 65536 + 8 * 4096);
        refused += status_of(&f[i]) == 503;
        assert_false(f[i].aborted);
    }
    assert_in_range(refused, 5, 7);
    for (int i = 0; i < 8; i++) {
        fake_reset(app.server, &f[i]);
        fake_done(&f[i]);
    }
    fake_time(app.server, HTTP_LINGER_MS);
    assert_int_equal(app.server->memory, 0);
    free(body);
    test_app_stop(&app);
}

static void streams_that_share_memory_neither_spin_nor_stall(void **state)
{
    (void)state;
    struct http_limits limits = {.memory_bytes = 20000, .send_bytes = 100000};
    struct test_app app[1];
    struct fake_client hog, other;
    test_app_start(app, &limits);
    fake_connect(app->server, &hog);
    hog.room = 0;
    say(app, &hog, "GET /flood HTTP/1.1\r\n" HOST "\r\n"); // fills what all may hold
    struct http_request *first = app->flood;
    assert_int_equal(app->flood_refused, 1);
    fake_connect(app->server, &other);
    other.room = 0;
    say(app, &other, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    assert_ptr_not_equal(app->flood, first);
    unsigned refused = app->flood_refused;
    fake_settle(app->server);
    assert_int_equal(app->flood_refused, refused); // nothing happened, so nobody was asked again
    assert_true(http_server_next_ms(app->server) > fake_now);
    for (int i = 0; i < 1000 && app->flood_left; i++)
        fake_take(app->server, &other, 500);
    assert_int_equal(app->flood_left, 0);
    fake_reset(app->server, &hog);
    fake_reset(app->server, &other);
    fake_done(&hog);
    fake_done(&other);
    http_end(first); // it never asked to be told
    test_app_stop(app);
}

static void two_hundred_dropped_connections_leave_nothing(void **state)
{
    (void)state;
    struct test_app app;
    test_app_start(&app, NULL);
    const char *texts[] = {"", "GET", health,
                           "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nx",
                           "GET /wait HTTP/1.1\r\n" HOST "\r\n"};
    for (int i = 0; i < 200; i++) {
        struct fake_client f;
        fake_connect(app.server, &f);
        say(&app, &f, texts[i % 5]);
        if (i % 2)
            fake_reset(app.server, &f);
        else
            fake_eof(app.server, &f);
        fake_done(&f);
    }
    assert_int_equal(stats_of(&app).connections_total, 200);
    assert_int_equal(stats_of(&app).connections_now, 0);
    assert_int_equal(app.server->memory, 0);
    assert_int_equal(app.server->running, 0);
    test_app_stop(&app);
}

static void a_pipelining_client_does_not_starve_or_swamp(void **state)
{
    (void)state;
    struct test_app app;
    struct fake_client greedy, modest;
    test_app_start(&app, NULL);
    fake_connect(app.server, &greedy);
    fake_connect(app.server, &modest);
    // Without reading, many requests: they wait in the window, not as answers in our memory.
    greedy.room = 0;
    size_t sent = 0;
    for (int i = 0; i < 20000; i++)
        sent += fake_send(app.server, &greedy, health, strlen(health));
    assert_true(sent <= HTTP_WINDOW + 65536);
    assert_true(http_buffer_bytes(&greedy.conn->out) < 65536);
    say(&app, &modest, health);
    assert_int_equal(status_of(&modest), 200);
    fake_eof(app.server, &modest);
    fake_reset(app.server, &greedy);
    fake_done(&modest);
    fake_done(&greedy);
    assert_int_equal(app.server->memory, 0);
    test_app_stop(&app);
}

// Those refused from the header alone never reach a handler; they must wait like the others.
static void pipelined_requests_for_unknown_paths_do_not_swamp(void **state)
{
    (void)state;
    static const char nope[] = "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n";
    static char all[2000 * sizeof nope];
    struct test_app app;
    struct fake_client greedy;
    size_t bytes = 0;
    for (int i = 0; i < 2000; i++, bytes += sizeof nope - 1)
        memcpy(all + bytes, nope, sizeof nope);
    test_app_start(&app, NULL);
    fake_connect(app.server, &greedy);
    greedy.room = 0;
    fake_send(app.server, &greedy, all, bytes);
    assert_true(http_buffer_bytes(&greedy.conn->out) < 2 * HTTP_NEXT_REQUEST_ROOM);
    // Once the client reads, it gets them all.
    fake_take(app.server, &greedy, SIZE_MAX / 4);
    for (int i = 0; i < 2000 && http_buffer_bytes(&greedy.conn->in); i++)
        fake_take(app.server, &greedy, SIZE_MAX / 4);
    assert_int_equal(stats_of(&app).responses_4xx, 2000);
    fake_reset(app.server, &greedy);
    fake_done(&greedy);
    assert_int_equal(app.server->memory, 0);
    test_app_stop(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_large_requests_are_refused),
        cmocka_unit_test(a_body_at_the_limit_is_taken),
        cmocka_unit_test(a_slow_header_is_timed_out),
        cmocka_unit_test(a_slow_body_is_timed_out),
        cmocka_unit_test(an_idle_connection_is_closed),
        cmocka_unit_test(a_client_that_does_not_read_is_reset),
        cmocka_unit_test(a_slow_but_steady_reader_gets_all),
        cmocka_unit_test(one_connection_too_many_is_told_so),
        cmocka_unit_test(a_full_server_evicts_who_keeps_it_waiting),
        cmocka_unit_test(memory_of_all_connections_is_bounded),
        cmocka_unit_test(streams_that_share_memory_neither_spin_nor_stall),
        cmocka_unit_test(two_hundred_dropped_connections_leave_nothing),
        cmocka_unit_test(a_pipelining_client_does_not_starve_or_swamp),
        cmocka_unit_test(pipelined_requests_for_unknown_paths_do_not_swamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
