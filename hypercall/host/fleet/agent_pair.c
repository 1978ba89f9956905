// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent's two processes. Each sees the other's end on the socket between them and starts it
// anew; a byte on it before the end says that the end is wanted.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUICK_MS = 2000, MOST_PAUSE_MS = 5000, END_MS = 8000 };

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
    (void)number;
    ending = 1;
}

void agent_catch_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool agent_is_ending(void)
{
    return ending;
}

bool agent_read_descriptors(const char *text, int *lock, int *link)
{
    if (sscanf(text, "%d,%d", lock, link) != 2 || *lock < 3 || *link < 3) {
        return false;
    }
    fcntl(*lock, F_SETFD, FD_CLOEXEC);
    fcntl(*link, F_SETFD, FD_CLOEXEC);
    return true;
}

// Only calls that a child of a threaded process may make.
static void become(int lock, int link, char *const *arguments)
{
    int from[2] = {fcntl(lock, F_DUPFD, 64), fcntl(link, F_DUPFD, 64)};
    if (from[0] < 0 || from[1] < 0 || dup2(from[0], 3) < 0 || dup2(from[1], 4) < 0) {
        _exit(127);
    }
    close_range(5, ~0u, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", arguments);
    _exit(127);
}

int agent_spawn(const char *uri, bool worker, bool idle_exit, int lock, int *link, pid_t *pid)
{
    int pair[2];
    const char *arguments[] = {"tessera",   "agent", worker ? "--worker" : "--supervisor", "3,4",
                               "--connect", uri,     idle_exit ? "--idle-exit" : NULL,     NULL};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return -errno;
    }
    *pid = fork();
    if (*pid == 0) {
        become(lock, pair[1], (char *const *)(uintptr_t)arguments);
    }
    int rc = *pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc) {
        close(pair[0]);
        return rc;
    }
    *link = pair[0];
    return 0;
}

// ---- the supervisor ----------------------------------------------------------------------------

// True: the partner said that it ends for good.
static bool wait_for_end(int link, struct agent_shelf *shelf, bool *told)
{
    while (!ending) {
        struct pollfd p = {.fd = link, .events = POLLIN};
        if (poll(&p, 1, 1000) <= 0) {
            continue;
        }
        int got = agent_link_receive(link, shelf);
        *told = *told || got == 'q';
        if (got < 0) {
            return *told;
        }
    }
    return true;
}

static void end_partner(int link, struct agent_shelf *shelf)
{
    uint64_t until = agent_now_ms() + END_MS;
    agent_link_send(link, 'q', "", -1);
    while (agent_now_ms() < until) {
        struct pollfd p = {.fd = link, .events = POLLIN};
        if (poll(&p, 1, 100) > 0 && agent_link_receive(link, shelf) < 0) {
            return;
        }
    }
}

static int supervise(const char *uri, bool idle_exit, int lock, int link)
{
    static struct agent_shelf shelf;
    unsigned quick = 0;
    uint64_t started = agent_now_ms();
    pid_t worker = 0;
    for (;;) {
        bool told = false;
        if (link >= 0 && wait_for_end(link, &shelf, &told)) {
            if (!told) {
                end_partner(link, &shelf);
            }
            return 0;
        }
        if (link >= 0) {
            close(link);
            agent_log("the worker ended; the next one starts");
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        quick = agent_now_ms() - started < QUICK_MS ? quick + 1 : 0;
        uint64_t pause = quick > 2 ? 50ull << (quick < 8 ? quick : 8) : 0;
        agent_sleep_ms(pause < MOST_PAUSE_MS ? (long)pause : MOST_PAUSE_MS);
        if (ending) {
            return 0;
        }
        started = agent_now_ms();
        int rc = agent_spawn(uri, true, idle_exit, lock, &link, &worker);
        if (rc) {
            agent_log("no worker can be started: %s", strerror(-rc));
            link = -1;
        } else {
            agent_link_send_shelf(link, &shelf);
        }
    }
}

int agent_supervise(const char *uri, const char *descriptors, bool idle_exit)
{
    int lock, link;
    agent_catch_signals();
    if (!agent_read_descriptors(descriptors, &lock, &link)) {
        return -EINVAL;
    }
    return supervise(uri, idle_exit, lock, link);
}

// Waits for the lock as long as it takes; a signal ends that.
static int wait_for_lock(int lock)
{
    while (flock(lock, LOCK_EX) != 0) {
        if (errno != EINTR || ending) {
            return -errno;
        }
    }
    return 0;
}

int agent_run(const char *uri, bool idle_exit, bool wait, char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    int rc = carrier_path("agent.lock", uri, path, sizeof path, error, error_bytes);
    if (rc) {
        return rc;
    }
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    agent_catch_signals();
    if (lock < 0 || (wait ? wait_for_lock(lock) : flock(lock, LOCK_EX | LOCK_NB)) != 0) {
        rc = ending ? -EINTR : errno == EWOULDBLOCK ? -EALREADY : -errno;
        snprintf(error, error_bytes,
                 rc == -EALREADY ? "an agent runs already for %s (it holds %s)" : "%s: %s",
                 rc == -EALREADY ? uri : path, rc == -EALREADY ? path : strerror(-rc));
        if (lock >= 0) {
            close(lock);
        }
        return rc;
    }
    return supervise(uri, idle_exit, lock, -1);
}
