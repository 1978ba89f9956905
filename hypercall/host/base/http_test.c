// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Many servers asked at once, of which some answer, one is silent, one refuses.
//
// Libs: -lcurl
#include "hypercall/host/base/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int open_listener(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0 &&
                getsockname(fd, (struct sockaddr *)&a, &bytes) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

// Says the request back, as many times as the path's number tells; "/404" is not found.
static void serve(int listener)
{
    for (;;) {
        char request[2000];
        int fd = accept(listener, NULL, NULL);
        ssize_t n = fd < 0 ? -1 : read(fd, request, sizeof request - 1);
        if (n <= 0) {
            _exit(1);
        }
        request[n] = 0;
        unsigned times = (unsigned)atoi(request + strlen("GET /"));
        FILE *f = fdopen(fd, "w");
        fprintf(f, "HTTP/1.1 %s\r\nConnection: close\r\n\r\n",
                times == 404 ? "404 None" : "200 OK");
        for (unsigned i = 0; i < times; i++) {
            fprintf(f, "%s", request);
        }
        fclose(f);
    }
}

static void ask_for(struct http_question *q, int port, unsigned times, const char *key)
{
    *q = (struct http_question){.key = key, .http = -1};
    snprintf(q->url, sizeof q->url, "http://127.0.0.1:%d/%u", port, times);
}

static void test_each_gets_its_own_answer_and_nobody_waits_for_the_silent(void **state)
{
    enum { ANSWER, EMPTY, MISSING, LONG, SILENT, REFUSED, ANSWER_2, COUNT };
    struct http_question q[COUNT];
    int port, silent, refused;
    signal(SIGPIPE, SIG_IGN);
    int serving = open_listener(&port), silence = open_listener(&silent);
    (void)state;
    close(open_listener(&refused));
    pid_t server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        serve(serving);
    }
    setenv("http_proxy", "http://127.0.0.1:1", 1); // is not to be asked
    ask_for(&q[ANSWER], port, 1, "secret");
    ask_for(&q[EMPTY], port, 0, NULL);
    ask_for(&q[MISSING], port, 404, "");
    ask_for(&q[LONG], port, 40000, NULL);
    ask_for(&q[SILENT], silent, 1, NULL);
    ask_for(&q[REFUSED], refused, 1, NULL);
    ask_for(&q[ANSWER_2], port, 2, NULL);
    assert_int_equal(http_ask(q, COUNT, 3000), 0); // returns, although one says nothing
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);

    assert_int_equal(q[ANSWER].http, 200);
    assert_non_null(strstr(q[ANSWER].body, "GET /1 "));
    assert_non_null(strstr(q[ANSWER].body, "Authorization: Bearer secret\r\n"));
    assert_int_equal(q[ANSWER].bytes, strlen(q[ANSWER].body));
    assert_true(q[ANSWER].ms > 0);
    assert_int_equal(q[EMPTY].http, 200);
    assert_null(q[EMPTY].body);
    assert_int_equal(q[MISSING].http, 404);
    assert_null(strstr(q[MISSING].body, "Authorization"));
    assert_int_equal(q[LONG].http, 200);
    assert_int_equal(q[LONG].bytes, 1 << 20); // cut there
    assert_int_equal(q[SILENT].http, 0);
    assert_int_equal(q[REFUSED].http, 0);
    assert_null(q[REFUSED].body);
    assert_int_equal(q[ANSWER_2].http, 200);
    assert_non_null(strstr(q[ANSWER_2].body, "GET /2 "));
    for (int i = 0; i < COUNT; i++) {
        free(q[i].body);
    }
    close(serving);
    close(silence);
    assert_int_equal(http_ask(q, 0, 1000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_gets_its_own_answer_and_nobody_waits_for_the_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
