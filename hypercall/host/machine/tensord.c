// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The connection to tensord, and its start.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/clock.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/machine/tensord.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MOST = 64 << 10,
    PING_MS = 5000,
    ANSWER_MS = 30000,
    MODEL_MS = 600000,
    START_MS = 10000
};

struct tensord {
    int fd;
    size_t bytes;
    char line[LINE_MOST];
};

int tensord_folder(char *out, size_t out_bytes, char *error, size_t error_bytes)
{
    if (folder_of_sockets(out, out_bytes) != 0) {
        return error_say(error, error_bytes, -ENAMETOOLONG, "XDG_RUNTIME_DIR is too long");
    }
    int rc = folder_make_own(out, 067); // the group of QEMU's user may pass through
    return rc == -EPERM
               ? error_say(
                     error, error_bytes, rc,
                     "%s must be a folder of this user's that nobody else may open (chmod 700)",
                     out)
           : rc ? error_say(error, error_bytes, rc, "%s cannot be made: %s", out, strerror(-rc))
                : 0;
}

static bool wait_for(int fd, short what, int64_t until)
{
    for (;;) {
        int64_t left = until - monotonic_ms();
        struct pollfd p = {.fd = fd, .events = what};
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0 || (n < 0 && errno != EINTR)) {
            return n > 0;
        }
        if (left <= 0) {
            return false;
        }
    }
}

static int exchange_line(struct tensord *t, const char *request, int64_t until)
{
    for (size_t at = 0, bytes = strlen(request); at < bytes;) {
        ssize_t n = send(t->fd, request + at, bytes - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!wait_for(t->fd, POLLOUT, until)) {
                return -ETIMEDOUT;
            }
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EPIPE;
        }
        at += (size_t)n;
    }
    for (t->bytes = 0;;) {
        if (!wait_for(t->fd, POLLIN, until)) {
            return -ETIMEDOUT;
        }
        ssize_t n = recv(t->fd, t->line + t->bytes, sizeof t->line - t->bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ECONNRESET;
        }
        t->bytes += (size_t)n;
        if (t->line[t->bytes - 1] == '\n') { // one line is all that comes
            t->bytes--;
            return 0;
        }
        if (t->bytes == sizeof t->line) {
            return -EMSGSIZE;
        }
    }
}

// Sends the object, whose reference it takes; the answer is in t->line then.
static int exchange(struct tensord *t, json_t *request, int wait_ms, char *error,
                    size_t error_bytes)
{
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL, *line = NULL;
    int rc = -ENOMEM;
    json_decref(request);
    if (text && asprintf(&line, "%s\n", text) >= 0) {
        rc = exchange_line(t, line, monotonic_ms() + wait_ms);
        free(line);
    }
    free(text);
    return rc ? error_say(error, error_bytes, rc, "tensord does not answer: %s", strerror(-rc)) : 0;
}

static int ping(struct tensord *t, char *error, size_t error_bytes)
{
    int rc = exchange(t, json_pack("{ss}", "op", "ping"), PING_MS, error, error_bytes);
    return rc ? rc : tensord_read_answer(t->line, t->bytes, error, error_bytes);
}

int tensord_open(const char *folder, struct tensord **out, char *error, size_t error_bytes)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/tensord.sock", folder);
    if (n < 0 || (size_t)n >= sizeof a.sun_path) {
        return error_say(error, error_bytes, -ENAMETOOLONG, "%s is too long for a socket's path",
                         folder);
    }
    struct tensord *t = malloc(sizeof *t);
    if (!t) {
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = t->fd < 0 || connect(t->fd, (struct sockaddr *)&a, sizeof a) != 0 ? -errno : 0;
    if (rc) {
        error_say(error, error_bytes, rc, "no connection to tensord at %s: %s", a.sun_path,
                  strerror(-rc));
    } else {
        rc = ping(t, error, error_bytes);
    }
    if (rc) {
        tensord_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tensord_close(struct tensord *t)
{
    if (t) {
        if (t->fd >= 0) {
            close(t->fd);
        }
        free(t);
    }
}

// Its own session, so that neither our terminal's Ctrl-C nor our end reaches it.
static void become_daemon(const char *folder, const char *program)
{
    char control[PATH_MAX], log[PATH_MAX];
    snprintf(control, sizeof control, "%s/tensord.sock", folder);
    snprintf(log, sizeof log, "%s/tensord.log", folder);
    int in = open("/dev/null", O_RDONLY);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    if (setsid() < 0 || in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
        dup2(out, 2) < 0) {
        _exit(126);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close_range(3, ~0u, 0); // not ours to hand on: the lock's among them
    execl(program, program, "--dir", folder, "--control", control, (char *)NULL);
    dprintf(2, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

// The last line of its log, or nothing.
static void last_words(const char *folder, char *out, size_t out_bytes)
{
    char path[PATH_MAX], line[400];
    snprintf(path, sizeof path, "%s/tensord.log", folder);
    out[0] = 0;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(out, out_bytes, ": %s", line);
    }
    if (f) {
        fclose(f);
    }
}

static int launch(const char *folder, const char *program, struct tensord **out, char *error,
                  size_t error_bytes)
{
    char words[420], why[300];
    pid_t child = fork();
    if (child < 0) {
        return error_say(error, error_bytes, -errno, "tensord cannot be started: %s",
                         strerror(errno));
    }
    if (child == 0) {
        become_daemon(folder, program);
    }
    for (int64_t until = monotonic_ms() + START_MS;;) {
        int status, rc = tensord_open(folder, out, why, sizeof why);
        if (rc == 0) {
            return 0;
        }
        if (waitpid(child, &status, WNOHANG) == child) {
            last_words(folder, words, sizeof words);
            return error_say(error, error_bytes, -EIO,
                             "tensord ended as it started%s (%s/tensord.log)", words, folder);
        }
        if (monotonic_ms() > until) {
            kill(child, SIGTERM);
            return error_say(error, error_bytes, -ETIMEDOUT,
                             "tensord was started and does not answer (%s; %s/tensord.log)", why,
                             folder);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

int tensord_start(const char *folder, const char *program, struct tensord **out, int *started,
                  char *error, size_t error_bytes)
{
    char lock_path[PATH_MAX];
    *started = 0;
    int rc = tensord_open(folder, out, error, error_bytes);
    if (rc != -ENOENT && rc != -ECONNREFUSED) {
        return rc; // it answers, or something else is wrong than that none runs
    }
    if (access(program, X_OK) != 0) {
        return error_say(error, error_bytes, -errno, "%s: %s (tensord serves --offload)", program,
                         strerror(errno));
    }
    snprintf(lock_path, sizeof lock_path, "%s/start.lock", folder);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        rc = error_say(error, error_bytes, -errno, "%s: %s", lock_path, strerror(errno));
    } else {
        // Another run may have started it meanwhile.
        rc = tensord_open(folder, out, error, error_bytes);
        if (rc == -ENOENT || rc == -ECONNREFUSED) {
            rc = launch(folder, program, out, error, error_bytes);
            *started = rc == 0;
        }
    }
    if (lock >= 0) {
        close(lock);
    }
    return rc;
}

int tensord_add_model(struct tensord *t, const char *path, const char *identity, char *error,
                      size_t error_bytes)
{
    // It may have to read the whole file for its hash.
    int rc =
        exchange(t, json_pack("{ssssss}", "op", "add-model", "path", path, "identity", identity),
                 MODEL_MS, error, error_bytes);
    return rc ? rc : tensord_read_answer(t->line, t->bytes, error, error_bytes);
}

int tensord_add_guest(struct tensord *t, const char *name, uint32_t region_mb, uint32_t weight,
                      struct tensord_guest *out, char *error, size_t error_bytes)
{
    int rc = exchange(t,
                      json_pack("{sssssisi}", "op", "add-guest", "name", name, "region_mb",
                                (int)region_mb, "weight", weight ? (int)weight : 100),
                      ANSWER_MS, error, error_bytes);
    return rc ? rc : tensord_read_guest(t->line, t->bytes, out, error, error_bytes);
}

int tensord_remove_guest(struct tensord *t, const char *name, char *error, size_t error_bytes)
{
    int rc = exchange(t, json_pack("{ssss}", "op", "remove-guest", "name", name), ANSWER_MS, error,
                      error_bytes);
    return rc ? rc : tensord_read_answer(t->line, t->bytes, error, error_bytes);
}
