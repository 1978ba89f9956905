// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Talking to the agent, and its start.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/clock.h"
#include "hypercall/host/fleet/agent.h"
#include "hypercall/host/fleet/carrier.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int connect_to(const char *uri, int *out, char *error, size_t error_bytes)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int rc = carrier_path("agent", uri, a.sun_path, sizeof a.sun_path, error, error_bytes);
    if (rc) {
        return rc;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        rc = errno == EAGAIN ? -ETIMEDOUT : -errno; // its queue of connections is full
        if (fd >= 0) {
            close(fd);
        }
        return error_say(error, error_bytes, rc, "the agent (%s): %s", a.sun_path, strerror(-rc));
    }
    *out = fd;
    return 0;
}

// Sends all or reads a line, until a time.
static int move(int fd, char *data, size_t bytes, bool sends, int64_t until)
{
    for (size_t at = 0; at < bytes;) {
        struct pollfd p = {.fd = fd, .events = sends ? POLLOUT : POLLIN};
        int64_t left = until - monotonic_ms();
        if (left <= 0 || poll(&p, 1, (int)left) == 0) {
            return -ETIMEDOUT;
        }
        ssize_t n = sends ? send(fd, data + at, bytes - at, MSG_NOSIGNAL)
                          : recv(fd, data + at, bytes - 1 - at, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ECONNRESET;
        }
        at += (size_t)n;
        if (!sends) {
            data[at] = 0;
            if (memchr(data, '\n', at)) {
                return 0;
            }
            if (at == bytes - 1) {
                return -EMSGSIZE;
            }
        }
    }
    return 0;
}

static int exchange(int fd, json_t *request, json_t **answer, char *error, size_t error_bytes)
{
    int64_t until = monotonic_ms() + AGENT_ANSWER_MS;
    char *line = json_dumps(request, JSON_COMPACT), *room = malloc(AGENT_LINE);
    int rc = line && room ? move(fd, line, strlen(line), true, until) : -ENOMEM;
    char end[] = "\n";
    rc = rc ? rc : move(fd, end, 1, true, until);
    rc = rc ? rc : move(fd, room, AGENT_LINE, false, until);
    json_t *read = rc ? NULL : json_loads(room, JSON_DISABLE_EOF_CHECK, NULL);
    free(line);
    free(room);
    if (rc) {
        return error_say(error, error_bytes, rc, "the agent does not answer: %s", strerror(-rc));
    }
    if (!json_is_true(json_object_get(read, "ok"))) {
        const char *why = json_string_value(json_object_get(read, "error"));
        rc = error_say(error, error_bytes, -EIO, "the agent says: %s",
                       why ? why : "nothing readable");
        json_decref(read);
        return rc;
    }
    *answer = read;
    return 0;
}

int agent_ask(const char *uri, json_t *request, json_t **answer, char *error, size_t error_bytes)
{
    int fd = -1, rc = connect_to(uri, &fd, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = exchange(fd, request, answer, error, error_bytes);
    close(fd);
    return rc;
}

static int ask_simple(const char *uri, const char *op, char *error, size_t error_bytes)
{
    json_t *answer = NULL, *request = json_pack("{s:s}", "op", op);
    int rc = request ? agent_ask(uri, request, &answer, error, error_bytes) : -ENOMEM;
    json_decref(request);
    json_decref(answer);
    return rc;
}

void agent_poke(const char *uri)
{
    char error[300];
    ask_simple(uri, "poke", error, sizeof error);
}

// ---- start -------------------------------------------------------------------------------------

// In a child of a child, so that nobody has to wait for it.
static void become_agent(const char *uri, const char *log)
{
    int null = open("/dev/null", O_RDWR), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (null < 0 || out < 0 || setsid() < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
        dup2(out, 2) < 0) {
        _exit(127);
    }
    close_range(3, ~0u, 0);
    signal(SIGPIPE, SIG_DFL);
    execl("/proc/self/exe", "tessera", "agent", "--idle-exit", "--connect", uri, (char *)NULL);
    _exit(127);
}

static int start(const char *uri, const char *log, char *error, size_t error_bytes)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            become_agent(uri, log);
        }
        _exit(0);
    }
    if (child < 0) {
        return error_say(error, error_bytes, -errno, "the agent cannot be started: %s",
                         strerror(errno));
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return 0;
}

int agent_ensure(const char *uri, bool *started, char *error, size_t error_bytes)
{
    char log[PATH_MAX], why[400];
    bool asked = false;
    int rc = carrier_path("agent.log", uri, log, sizeof log, error, error_bytes);
    for (int64_t until = monotonic_ms() + AGENT_START_MS; !rc;) {
        int answer = ask_simple(uri, "ping", why, sizeof why);
        if (answer == 0 || answer == -ETIMEDOUT) { // it is there, and busy
            break;
        }
        if (monotonic_ms() > until) {
            return error_say(error, error_bytes, -ETIMEDOUT,
                             "the agent does not start (%s); its log is %s", why, log);
        }
        // Two at once: the one without the lock ends by itself.
        rc = asked ? 0 : start(uri, log, error, error_bytes);
        asked = true;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    if (started) {
        *started = asked;
    }
    return rc;
}
