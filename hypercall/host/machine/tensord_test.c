// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Talking to tensord: its answers, a daemon that is slow, gone or garbled, and its start.
//
// Links: hypercall/host/machine/tensord.c hypercall/host/machine/tensord_answer.c
// Libs: -ljansson
#include "hypercall/host/machine/tensord.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], error[700];

static int begin(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/tessera-tensord.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **unused)
{
    char command[128];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

// A process that answers ping, and then each request with the next of `answers` (NULL: it hangs
// up).
static pid_t serve(const char *const *answers)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/tensord.sock", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 4), 0);
    pid_t child = fork();
    if (child == 0) {
        char line[4096];
        int fd = accept(listener, NULL, NULL);
        alarm(20);
        while (read(fd, line, sizeof line) > 0) {
            const char *answer = strstr(line, "\"ping\"") ? "{\"ok\":true}\n" : *answers++;
            if (!answer) {
                break;
            }
            // In two pieces, as a stream may.
            size_t n = strlen(answer);
            if (write(fd, answer, n / 2) < 0 || usleep(5000) != 0 ||
                write(fd, answer + n / 2, n - n / 2) < 0) {
                break;
            }
            memset(line, 0, sizeof line);
        }
        _exit(0);
    }
    close(listener);
    return child;
}

static void reap(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void requests_get_their_answers(void **unused)
{
    (void)unused;
    static const char *const answers[] = {
        "{\"ok\":true,\"identity\":\"sha256:00\"}\n",
        "{\"ok\":true,\"socket\":\"/run/x/n.ivshmem\",\"vectors\":2}\n", "{\"ok\":true}\n",
        "{\"ok\":false,\"error\":\"no such guest\"}\n", NULL};
    struct tensord *t;
    struct tensord_guest g;
    pid_t child = serve(answers);
    assert_int_equal(tensord_open(folder, &t, error, sizeof error), 0);
    assert_int_equal(tensord_add_model(t, "/m \"q\".gguf", "sha256:00", error, sizeof error), 0);
    assert_int_equal(tensord_add_guest(t, "n", 64, 0, &g, error, sizeof error), 0);
    assert_string_equal(g.socket, "/run/x/n.ivshmem");
    assert_int_equal(g.vectors, 2);
    assert_int_equal(tensord_remove_guest(t, "n", error, sizeof error), 0);
    assert_int_equal(tensord_remove_guest(t, "n", error, sizeof error), -EIO);
    assert_string_equal(error, "tensord refused: no such guest");
    assert_true(tensord_remove_guest(t, "n", error, sizeof error) < 0); // it hung up
    assert_non_null(strstr(error, "does not answer"));
    tensord_close(t);
    reap(child);
}

static void broken_answers_are_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"",
                                      "x",
                                      "{}",
                                      "{\"ok\":1}",
                                      "[true]",
                                      "{\"ok\":true",
                                      "{\"ok\":true} {}",
                                      "{\"ok\":true,\"ok\":false}"};
    struct tensord_guest g;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tensord_read_answer(bad[i], strlen(bad[i]), error, sizeof error), -EPROTO);
    }
    static const char *const guests[] = {
        "{\"ok\":true}",
        "{\"ok\":true,\"socket\":\"relative\",\"vectors\":2}",
        "{\"ok\":true,\"socket\":\"/a\",\"vectors\":0}",
        "{\"ok\":true,\"socket\":\"/a\",\"vectors\":65}",
        "{\"ok\":true,\"socket\":\"/a\",\"vectors\":\"2\"}",
        "{\"ok\":true,\"socket\":7,\"vectors\":2}",
        "{\"ok\":true,\"socket\":\"/"
        "0123456789012345678901234567890123456789012345678901234567890123"
        "456789012345678901234567890123456789012345678\",\"vectors\":2}"};
    for (size_t i = 0; i < sizeof guests / sizeof *guests; i++) {
        assert_int_equal(tensord_read_guest(guests[i], strlen(guests[i]), &g, error, sizeof error),
                         -EPROTO);
    }
    const char *no = "{\"ok\":false}";
    assert_int_equal(tensord_read_guest(no, strlen(no), &g, error, sizeof error), -EIO);
    assert_non_null(strstr(error, "does not say why"));
}

static void the_folder_must_be_the_users_own(void **unused)
{
    (void)unused;
    char found[256], other[128];
    setenv("XDG_RUNTIME_DIR", folder, 1);
    assert_int_equal(tensord_folder(found, sizeof found, error, sizeof error), 0);
    snprintf(other, sizeof other, "%s/tessera", folder);
    assert_string_equal(found, other);
    assert_int_equal(tensord_folder(found, sizeof found, error, sizeof error), 0);
    assert_int_equal(chmod(found, 0770), 0);
    assert_int_equal(tensord_folder(found, sizeof found, error, sizeof error), -EPERM);
    // A link, even to a folder that would do.
    assert_int_equal(rmdir(found), 0);
    assert_int_equal(symlink(folder, found), 0);
    assert_int_equal(tensord_folder(found, sizeof found, error, sizeof error), -EPERM);
}

// A program for tensord's place.
static char *script(const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/program", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0700), 0);
    return path;
}

static void one_that_does_not_start_is_told(void **unused)
{
    (void)unused;
    struct tensord *t;
    int started;
    assert_int_equal(tensord_open(folder, &t, error, sizeof error), -ENOENT);
    assert_int_equal(
        tensord_start(folder, "/nonexistent/tensord", &t, &started, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/tensord"));
    char *program = script("#!/bin/sh\necho \"got $*\"\necho no GPU, no CPU >&2\nexit 3\n");
    assert_int_equal(tensord_start(folder, program, &t, &started, error, sizeof error), -EIO);
    assert_non_null(strstr(error, "no GPU, no CPU"));
    assert_int_equal(started, 0);
    char path[128], line[512] = "", want[512];
    snprintf(path, sizeof path, "%s/tensord.log", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    snprintf(want, sizeof want, "got --dir %s --control %s/tensord.sock\n", folder, folder);
    assert_string_equal(line, want);
}

static void one_that_runs_is_not_started_again(void **unused)
{
    (void)unused;
    static const char *const answers[] = {NULL};
    struct tensord *t;
    int started = 7;
    pid_t child = serve(answers);
    char *program = script("#!/bin/sh\ntouch \"$2/started\"\n");
    assert_int_equal(tensord_start(folder, program, &t, &started, error, sizeof error), 0);
    assert_int_equal(started, 0);
    char path[128];
    snprintf(path, sizeof path, "%s/started", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    tensord_close(t);
    reap(child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_get_their_answers, begin, end),
        cmocka_unit_test(broken_answers_are_refused),
        cmocka_unit_test_setup_teardown(the_folder_must_be_the_users_own, begin, end),
        cmocka_unit_test_setup_teardown(one_that_does_not_start_is_told, begin, end),
        cmocka_unit_test_setup_teardown(one_that_runs_is_not_started_again, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
