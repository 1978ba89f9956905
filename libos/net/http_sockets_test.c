// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The HTTP server over real sockets: answers from other threads, big bodies both ways, slow
// readers, clients that vanish, graceful drain.
//
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c libos/net/http_sockets_host.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
#include "libos/http_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

enum { PIECES = 3000, PIECE = 10000 };

static struct http_server *server;
static atomic_bool stop;
static pthread_t loop_thread;
static atomic_int gone_calls, drained;

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
    http_reply(r, 200, "text/plain", body, bytes);
}

// Answered by a thread of its own, through http_host_post.
static void answer_later(void *arg)
{
    http_reply_json(arg, 200, "{\"late\":true}");
}
static void *think(void *arg)
{
    usleep(20000);
    http_host_post(answer_later, arg);
    return NULL;
}
static void later(struct http_request *r, void *ctx)
{
    (void)ctx;
    pthread_t thread;
    if (pthread_create(&thread, NULL, think, r) == 0)
        pthread_detach(thread);
}

struct flood {
    struct http_request *request;
    int left;
};
static void more(void *ctx)
{
    static char piece[PIECE];
    struct flood *f = ctx;
    for (; f->left; f->left--)
        if (http_write(f->request, piece, sizeof piece))
            return;
    http_end(f->request);
    free(f);
}
static void gone(void *ctx)
{
    atomic_fetch_add(&gone_calls, 1);
    free(ctx);
}
static void flood(struct http_request *r, void *ctx)
{
    (void)ctx;
    struct flood *f = malloc(sizeof *f);
    *f = (struct flood){r, PIECES};
    http_on_gone(r, gone, f);
    http_on_drain(r, more, f);
    http_begin(r, 200, "text/plain");
    more(f);
}

static void *run_loop(void *arg)
{
    (void)arg;
    http_host_run(server, &stop);
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    if (http_host_listen("127.0.0.1", 0, NULL, &server))
        return -1;
    http_route(server, "GET", "/health", HTTP_PUBLIC, health, NULL);
    http_route(server, "POST", "/echo", 0, echo, NULL);
    http_route(server, "GET", "/later", 0, later, NULL);
    http_route(server, "GET", "/flood", 0, flood, NULL);
    return pthread_create(&loop_thread, NULL, run_loop, NULL);
}

static int teardown(void **state)
{
    (void)state;
    atomic_store(&stop, true);
    pthread_join(loop_thread, NULL);
    http_host_close(server);
    return 0;
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_host_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);
        assert_true(n > 0);
        data += n;
        bytes -= (size_t)n;
    }
}

// Reads until the server closes. The caller frees.
static char *get_all(int fd, size_t *bytes)
{
    size_t room = 1 << 16;
    char *got = malloc(room);
    *bytes = 0;
    for (ssize_t n; (n = recv(fd, got + *bytes, room - *bytes - 1, 0)) > 0;) {
        *bytes += (size_t)n;
        if (room - *bytes < 1000)
            got = realloc(got, room *= 2);
    }
    got[*bytes] = 0;
    close(fd);
    return got;
}

static char *ask(const char *request, size_t *bytes)
{
    int fd = dial();
    put(fd, request, strlen(request));
    return get_all(fd, bytes);
}

#define CLOSE "Host: t\r\nConnection: close\r\n\r\n"

static void answers_at_once_and_from_other_threads(void **state)
{
    (void)state;
    size_t bytes;
    char *got = ask("GET /health HTTP/1.1\r\n" CLOSE, &bytes);
    assert_non_null(strstr(got, "{\"status\":\"ok\"}"));
    free(got);
    got = ask("GET /later HTTP/1.1\r\nHost: t\r\n\r\nGET /later HTTP/1.1\r\n" CLOSE, &bytes);
    assert_non_null(strstr(strstr(got, "late") + 1, "late"));
    free(got);
}

static void a_big_body_comes_back(void **state)
{
    (void)state;
    enum { BYTES = 3000000 };
    char *body = malloc(BYTES), head[128];
    for (int i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    int fd = dial();
    int n =
        snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nContent-Length: %d\r\n" CLOSE, BYTES);
    put(fd, head, (size_t)n);
    put(fd, body, BYTES);
    size_t bytes;
    char *got = get_all(fd, &bytes);
    assert_true(bytes > BYTES);
    assert_memory_equal(got + bytes - BYTES, body, BYTES);
    free(got);
    free(body);
}

static void a_long_stream_arrives_whole(void **state)
{
    (void)state;
    size_t bytes;
    char *got = ask("GET /flood HTTP/1.0\r\n\r\n", &bytes);
    assert_in_range(bytes, PIECES * PIECE, PIECES * PIECE + 1000);
    free(got);
}

static void a_client_that_leaves_a_stream_is_noticed(void **state)
{
    (void)state;
    int before = atomic_load(&gone_calls);
    for (int i = 0; i < 20; i++) {
        int fd = dial();
        put(fd, "GET /flood HTTP/1.1\r\nHost: t\r\n\r\n", 32);
        char some[1000];
        assert_true(recv(fd, some, sizeof some, 0) > 0);
        close(fd);
    }
    for (int i = 0; i < 500 && atomic_load(&gone_calls) < before + 20; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&gone_calls), before + 20);
}

static void set_drained(void *ctx)
{
    (void)ctx;
    atomic_store(&drained, 1);
}
static void start_drain(void *arg)
{
    http_drain(server, 5000, set_drained, arg);
}

static void a_drain_lets_the_running_request_end(void **state)
{
    (void)state;
    int fd = dial();
    put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n", 32);
    usleep(5000);
    http_host_post(start_drain, NULL);
    size_t bytes;
    char *got = get_all(fd, &bytes);
    assert_non_null(strstr(got, "late"));
    assert_non_null(strstr(got, "Connection: close"));
    free(got);
    for (int i = 0; i < 500 && !atomic_load(&drained); i++)
        usleep(10000);
    assert_int_equal(atomic_load(&drained), 1);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_host_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_at_once_and_from_other_threads),
        cmocka_unit_test(a_big_body_comes_back),
        cmocka_unit_test(a_long_stream_arrives_whole),
        cmocka_unit_test(a_client_that_leaves_a_stream_is_noticed),
        cmocka_unit_test(a_drain_lets_the_running_request_end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
