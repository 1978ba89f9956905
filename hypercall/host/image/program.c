// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Running sbsign, sbverify, qemu-img and dtc: what they say becomes our message, and none hangs us.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/clock.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 600 }; // a model of many GB is copied or hashed; a pass phrase may be asked for

extern char **environ;

static time_t now_s(void)
{
    return (time_t)(monotonic_ms() / 1000);
}

// What the program says, in one line; until it ends or closes its output.
static bool listen_to(int fd, time_t until, char *said, size_t room)
{
    size_t used = 0;
    char text[256];
    said[0] = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        time_t left = until - now_s();
        if (left <= 0 || (poll(&p, 1, (int)left * 1000) < 0 && errno != EINTR)) {
            return false;
        }
        if (p.revents == 0) {
            continue;
        }
        ssize_t n = read(fd, text, sizeof text);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        for (ssize_t i = 0; i < n && used + 1 < room; i++) {
            bool blank = (unsigned char)text[i] <= ' ' || text[i] == 0x7f;
            if (!blank || (used > 0 && said[used - 1] != ' ')) {
                said[used++] = blank ? ' ' : text[i];
            }
        }
        said[used] = 0;
    }
    while (used > 0 && said[used - 1] == ' ') {
        said[--used] = 0;
    }
    return true;
}

int image_program(const char *const *words, char *error, size_t error_bytes)
{
    int pipe_ends[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
        return error_say(error, error_bytes, -errno, "%s: %s", words[0], strerror(errno));
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
    int rc =
        posix_spawnp(&child, words[0], &actions, NULL, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
    if (rc != 0) {
        close(pipe_ends[0]);
        return error_say(error, error_bytes, -rc, "%s: %s", words[0], strerror(rc));
    }
    bool ended = listen_to(pipe_ends[0], now_s() + LIMIT_S, error, error_bytes);
    close(pipe_ends[0]);
    if (!ended) {
        kill(child, SIGKILL);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!ended) {
        return error_say(error, error_bytes, -ETIMEDOUT, "%s did not end within %d s", words[0],
                         LIMIT_S);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return -ENOENT;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}
