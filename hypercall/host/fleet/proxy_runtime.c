// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The client of HAProxy's runtime socket: one line out, the answer until HAProxy closes.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/fleet/proxy_runtime.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(char *error, size_t error_bytes, const char *folder, int rc)
{
    snprintf(error, error_bytes, "HAProxy's socket %s/haproxy.sock: %s", folder,
             rc == -ETIMEDOUT ? "no answer within two seconds" : strerror(-rc));
    return rc;
}

static int wait_for(int fd, short what, int64_t until)
{
    struct pollfd p = {.fd = fd, .events = what};
    int64_t left = until - monotonic_ms();
    int n = left > 0 ? poll(&p, 1, (int)left) : 0;
    return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
}

static int connect_to(const char *folder, int *out)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/haproxy.sock", folder);
    if (n < 0 || (size_t)n >= sizeof a.sun_path) {
        return -ENAMETOOLONG;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

static int send_all(int fd, const char *data, size_t bytes, int64_t until)
{
    while (bytes) {
        ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
            continue;
        }
        int rc = wait_for(fd, POLLOUT, until);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int receive_all(int fd, char **out, int64_t until)
{
    size_t bytes = 0, room = 0;
    char *data = NULL;
    int rc = 0;
    for (;;) {
        if (bytes + 1 >= room) {
            room = room ? 2 * room : 16384;
            char *more = room <= PROXY_MOST_ANSWER ? realloc(data, room) : NULL;
            if (!more) {
                rc = room <= PROXY_MOST_ANSWER ? -ENOMEM : -EFBIG;
                break;
            }
            data = more;
        }
        ssize_t n = recv(fd, data + bytes, room - 1 - bytes, 0);
        if (n > 0) {
            bytes += (size_t)n;
            continue;
        }
        if (n == 0) {
            break;
        }
        rc = errno == EAGAIN || errno == EINTR ? wait_for(fd, POLLIN, until) : -errno;
        if (rc) {
            break;
        }
    }
    if (rc) {
        free(data);
        return rc;
    }
    while (bytes && data[bytes - 1] == '\n') {
        bytes--;
    }
    data[bytes] = 0;
    *out = data;
    return 0;
}

int proxy_command(const char *folder, const char *command, char **answer, char *error,
                  size_t error_bytes)
{
    int64_t until = monotonic_ms() + PROXY_WAIT_MS;
    int fd = -1, rc = connect_to(folder, &fd);
    if (rc) {
        return fail(error, error_bytes, folder, rc);
    }
    rc = send_all(fd, command, strlen(command), until);
    rc = rc ? rc : send_all(fd, "\n", 1, until);
    rc = rc ? rc : receive_all(fd, answer, until);
    close(fd);
    return rc ? fail(error, error_bytes, folder, rc) : 0;
}

// What HAProxy says when a command was done; everything else is a refusal.
static bool is_good(const char *command, const char *answer)
{
    static const char *const done[] = {"New server registered.", "Server deleted."};
    for (; *answer == '\n'; answer++) {
    }
    for (size_t i = 0; i < sizeof done / sizeof *done; i++) {
        if (strcmp(answer, done[i]) == 0) {
            return true;
        }
    }
    // It tells the old and the new address.
    return *answer == 0 || (strstr(command, " addr ") &&
                            (strstr(answer, "changed from") || strstr(answer, "no need")));
}

enum { TOGETHER = 64 }; // map entries in one exchange

int proxy_run_commands(const char *folder, const char *commands, size_t *refused, char *error,
                       size_t error_bytes)
{
    struct text line = {0};
    unsigned together = 0;
    int rc = 0;
    *refused = 0;
    while (*commands && rc == 0) {
        const char *end = strchr(commands, '\n');
        size_t n = end ? (size_t)(end - commands) : strlen(commands);
        text_add(&line, "%s%.*s", together ? ";" : "", (int)n, commands);
        commands += n + (end != NULL);
        bool is_map = !line.failed && strncmp(line.data, "set map ", 8) == 0;
        if (is_map && ++together < TOGETHER && strncmp(commands, "set map ", 8) == 0) {
            continue;
        }
        char *answer = NULL, why[200];
        rc = line.failed ? -ENOMEM : proxy_command(folder, line.data, &answer, why, sizeof why);
        if (rc) {
            snprintf(error, error_bytes, "%s", rc == -ENOMEM ? "no memory" : why);
        } else if (!is_good(line.data, answer)) {
            if (++*refused == 1) {
                snprintf(error, error_bytes, "HAProxy refused '%.100s': %.200s", line.data, answer);
            }
        }
        free(answer);
        line.bytes = 0;
        together = 0;
    }
    free(line.data);
    return rc;
}

int proxy_stats(const char *folder, struct proxy_row **rows, size_t *count, char *error,
                size_t error_bytes)
{
    char *csv;
    int rc = proxy_command(folder, "show stat", &csv, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = proxy_stats_parse(csv, strlen(csv), rows, count, error, error_bytes);
    free(csv);
    return rc;
}
