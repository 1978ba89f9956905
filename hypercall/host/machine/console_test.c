// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a guest wrote, as a terminal may see it; ports, and a guest's error messages.
//
// Links: hypercall/host/machine/console.c hypercall/host/machine/endpoint.c
// Links: hypercall/host/store/folders.c
// Libs: -lcurl -ljansson
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void shows(const char *bytes, size_t count, const char *want)
{
    char *found = NULL;
    size_t length;
    FILE *out = open_memstream(&found, &length);
    console_print(out, bytes, count);
    fclose(out);
    assert_string_equal(found, want);
    free(found);
}

static void control_characters_are_not_obeyed(void **unused)
{
    (void)unused;
#define SHOWS(bytes, want) shows(bytes, sizeof(bytes) - 1, want)
    SHOWS("a\tb\r\n", "a\tb\n");
    SHOWS("\033[2Jx\007\b\177\0", "?[2Jx????");
    SHOWS("\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x8c\x8d", "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x8c\x8d");
    SHOWS("\xc2\x9b"
          "2J",
          "??2J"); // the one-byte escape of ISO 6429
    SHOWS("\xff\xc3x\xe6\xbc", "??x??");
}

static void put(const char *path, const char *text, const char *mode)
{
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void printed(const char *path, unsigned lines, uint64_t *at, const char *want)
{
    char *found = NULL;
    size_t length;
    FILE *out = open_memstream(&found, &length);
    assert_int_equal(console_print_file(out, path, lines, at), 0);
    fclose(out);
    assert_string_equal(found, want);
    free(found);
}

static void the_last_lines_and_what_follows(void **unused)
{
    (void)unused;
    char path[] = "/tmp/tessera-console.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    uint64_t at = 0;
    printed(path, 3, &at, "");
    put(path, "one\ntwo\nthree\nfour", "w");
    at = 0;
    printed(path, 0, &at, "one\ntwo\nthree\nfour");
    printed(path, 0, &at, "");
    put(path, "!\nfive\n", "a");
    printed(path, 0, &at, "!\nfive\n");
    printed(path, 1, &at, "five\n");
    printed(path, 2, &at, "four!\nfive\n");
    printed(path, 99, &at, "one\ntwo\nthree\nfour!\nfive\n");
    put(path, "anew\n", "w"); // shorter than what was read
    printed(path, 0, &at, "anew\n");
    unlink(path);
    assert_int_equal(console_print_file(stdout, path, 0, &at), -ENOENT);
}

static void logs_are_the_users_own(void **unused)
{
    (void)unused;
    char folder[] = "/tmp/tessera-state.XXXXXX", path[256], want[256], error[400];
    struct stat s;
    assert_non_null(mkdtemp(folder));
    setenv("XDG_STATE_HOME", folder, 1);
    assert_int_equal(console_log_path("a", 1, path, sizeof path, error, sizeof error), 0);
    snprintf(want, sizeof want, "%s/tessera/a.log", folder);
    assert_string_equal(path, want);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    put(path, "old", "w");
    assert_int_equal(console_log_path("a", 1, path, sizeof path, error, sizeof error), 0);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 0); // a new guest's log begins empty
    // Nothing is written through somebody's link.
    unlink(path);
    assert_int_equal(symlink("/tmp/elsewhere", path), 0);
    assert_int_equal(console_log_path("a", 1, path, sizeof path, error, sizeof error), -ELOOP);
    assert_non_null(strstr(error, "XDG_STATE_HOME names another place"));
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
    rmdir(folder);
}

static void a_port_is_free_until_somebody_listens(void **unused)
{
    (void)unused;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &length), 0);
    uint32_t port = ntohs(a.sin_port);
    assert_false(endpoint_port_is_free(NULL, port));
    assert_int_not_equal(endpoint_next_port(NULL, port), port);
    close(fd);
    assert_true(endpoint_port_is_free(NULL, port));
    assert_int_equal(endpoint_next_port(NULL, port), port);
    char base[64];
    snprintf(base, sizeof base, "http://127.0.0.1:%u", port);
    struct endpoint *e = endpoint_new(base, "key");
    const char *body;
    assert_int_equal(endpoint_get(e, "/health", &body), -ECONNREFUSED);
    assert_string_equal(body, "");
    endpoint_free(e);
}

static void error_messages_are_read(void **unused)
{
    (void)unused;
    static const char *const pairs[][2] = {
        {"{\"error\":{\"message\":\"no \\u001b[2J\\u00e4\"}}", "no ?[2J??"},
        {"{\"error\":\"no\"}", ""},
        {"{\"error\":{\"message\":7}}", ""},
        {"[1]", ""},
        {"no", ""},
        {"", ""}};
    char out[40];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        endpoint_message(pairs[i][0], out, sizeof out);
        assert_string_equal(out, pairs[i][1]);
    }
    endpoint_message("{\"error\":{\"message\":\"longer than it may be\"}}", out, 7);
    assert_string_equal(out, "longer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_are_not_obeyed),
        cmocka_unit_test(the_last_lines_and_what_follows),
        cmocka_unit_test(logs_are_the_users_own),
        cmocka_unit_test(a_port_is_free_until_somebody_listens),
        cmocka_unit_test(error_messages_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
