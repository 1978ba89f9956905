// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Garbage on the control socket gets an error or loses its connection; whoever asks sensibly is
// answered meanwhile.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/play_host.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int dial(const struct play_daemon *d)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", d->control);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const void *bytes, size_t n)
{
    ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
    (void)sent; // a connection that was closed is what some of this is about
}

// One line of answer; false: the connection was closed.
static bool hear(int fd, char *line, size_t room)
{
    size_t n = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 20000), 1);
        if (n == room - 1 || recv(fd, line + n, 1, 0) != 1) {
            return false;
        }
        if (line[n] == '\n') {
            line[n] = 0;
            return true;
        }
        n++;
    }
}

static void still_answers(const struct play_daemon *d)
{
    char *ping = play_control(d, "{\"op\":\"ping\"}");
    assert_non_null(ping);
    assert_non_null(strstr(ping, "\"ok\":true"));
    free(ping);
}

static void requests_that_make_no_sense_are_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "17",
        "{",
        "{\"op\":17}",
        "{\"op\":\"\"}",
        "{\"op\":\"format-disk\"}",
        "{\"op\":\"add-guest\"}",
        "{\"op\":\"add-guest\",\"name\":\"\"}",
        "{\"op\":\"add-guest\",\"name\":\"../../etc/x\"}",
        "{\"op\":\"add-guest\",\"name\":\"a/b\"}",
        "{\"op\":\"add-guest\",\"name\":\"-a\"}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":0}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":3}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":-1}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":9223372036854775807}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":1e3}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":\"16\"}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"weight\":0}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"weight\":10001}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"compute_percent\":101}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"most_runs\":65}",
        "{\"op\":\"add-guest\",\"name\":\"a\",\"memory_mb\":0}",
        "{\"op\":\"remove-guest\"}",
        "{\"op\":\"remove-guest\",\"name\":\"nobody\"}",
        "{\"op\":\"add-model\"}",
        "{\"op\":\"add-model\",\"path\":\"relative.gguf\"}",
        "{\"op\":\"add-model\",\"path\":\"/nowhere/at/all.gguf\"}",
        "{\"op\":\"add-model\",\"path\":\"/dev/zero\"}",
        "{\"op\":\"add-model\",\"path\":\"/\"}",
    };
    struct play_daemon d;
    play_start(&d, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *reply = play_control(&d, bad[i]);
        assert_non_null(reply);
        if (!strstr(reply, "\"ok\":false") || !strstr(reply, "\"error\":")) {
            fail_msg("%s is answered %s", bad[i], reply);
        }
        free(reply);
    }
    still_answers(&d);
    play_stop(&d);
}

static void bytes_that_are_no_lines(void **unused)
{
    (void)unused;
    enum { LONG = 100000 };
    struct play_daemon d;
    struct play_guest g;
    char line[4096];
    char *garbage = malloc(LONG);
    assert_non_null(garbage);
    play_start(&d, NULL);
    for (unsigned seed = 0; seed < 20; seed++) {
        for (unsigned i = 0, x = seed * 2654435761u + 1; i < LONG; i++) {
            x = x * 1664525 + 1013904223;
            garbage[i] = (char)(seed == 0 ? 'a' : seed == 1 ? '[' : seed == 2 ? 0 : x >> 24);
        }
        int fd = dial(&d);
        say(fd, garbage, LONG);
        if (seed < 3) { // no end of a line: told so, then closed
            assert_true(hear(fd, line, sizeof line));
            assert_non_null(strstr(line, "\"ok\":false"));
            assert_false(hear(fd, line, sizeof line));
        }
        close(fd);
        still_answers(&d);
    }
    // Half a line, and the rest later; then two in one piece.
    int fd = dial(&d);
    say(fd, "{\"op\":", 6);
    still_answers(&d);
    say(fd, "\"ping\"}\n", 8);
    assert_true(hear(fd, line, sizeof line));
    assert_non_null(strstr(line, "\"ok\":true"));
    say(fd, "{\"op\":\"ping\"}\nnonsense\n", 23);
    assert_true(hear(fd, line, sizeof line));
    assert_non_null(strstr(line, "\"ok\":true"));
    assert_true(hear(fd, line, sizeof line));
    assert_non_null(strstr(line, "\"ok\":false"));
    close(fd);
    play_join(&d, &g, "a", "");
    play_leave(&g);
    free(garbage);
    play_stop(&d);
}

// Those that say nothing give way to those that come.
static void a_hundred_connections(void **unused)
{
    (void)unused;
    enum { MANY = 100 };
    struct play_daemon d;
    char line[4096];
    int fds[MANY];
    play_start(&d, NULL);
    for (int i = 0; i < MANY; i++) {
        fds[i] = dial(&d);
        if (i % 3 == 0) {
            say(fds[i], "{\"op\"", 5);
        }
        if (i % 10 == 0) {
            still_answers(&d);
        }
    }
    say(fds[MANY - 1], "\"x\n{\"op\":\"statistics\"}\n", 23);
    assert_true(hear(fds[MANY - 1], line, sizeof line));
    assert_true(hear(fds[MANY - 1], line, sizeof line));
    assert_non_null(strstr(line, "\"ok\":true"));
    assert_false(hear(fds[0], line, sizeof line));
    for (int i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    still_answers(&d);
    play_stop(&d);
}

// Asks and does not read: loses the connection, and nothing waits for it.
static void who_does_not_read_is_dropped(void **unused)
{
    (void)unused;
    struct play_daemon d;
    play_start(&d, NULL);
    int fd = dial(&d);
    for (int i = 0; i < 20000; i++) {
        if (send(fd, "{\"op\":\"ping\"}\n", 14, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            still_answers(&d);
        }
    }
    still_answers(&d);
    close(fd);
    play_stop(&d);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(requests_that_make_no_sense_are_refused),
        cmocka_unit_test(bytes_that_are_no_lines),
        cmocka_unit_test(a_hundred_connections),
        cmocka_unit_test(who_does_not_read_is_dropped),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return play_main(argc, argv, tests);
}
