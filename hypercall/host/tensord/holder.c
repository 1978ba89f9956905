// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The holder's loop: sockets, the worker's link, signals; one thread, no waiting elsewhere.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/tensord/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PING_MS = 1000, STOP_MS = 3000, LINK_MESSAGES = 64 };

uint64_t holder_now_ms(void)
{
    return (uint64_t)monotonic_ms();
}

// ---- opening -----------------------------------------------------------------------------------

static int listen_metrics(const char *where, char *error, size_t bytes)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(where, ':');
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (!colon || port == 0 || port > 65535 || (size_t)(colon - where) >= sizeof host) {
        snprintf(error, bytes, "--metrics wants ADDRESS:PORT, as in 127.0.0.1:9301, not '%s'",
                 where);
        return -EINVAL;
    }
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = 0;
    a.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        snprintf(error, bytes, "--metrics: '%s' is no IPv4 address", host);
        return -EINVAL;
    }
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 16)) {
        int rc = -errno;
        snprintf(error, bytes, "cannot listen at %s: %s", where, strerror(-rc));
        return rc;
    }
    return fd;
}

static int check_folder(const char *dir, char *error, size_t bytes)
{
    int rc = folder_make_own(dir, 022);
    if (rc) {
        snprintf(error, bytes,
                 rc == -EPERM ? "%s must be a folder of yours that nobody else may write to"
                              : "cannot make %s: %s",
                 dir, strerror(-rc));
    }
    return rc;
}

static int open_all(struct holder *h, char *error, size_t bytes)
{
    const struct holder_options *o = &h->options;
    char log[PATH_MAX];
    int rc = check_folder(o->dir, error, bytes);
    if (rc || (rc = control_open(h, error, bytes))) {
        return rc;
    }
    if (o->metrics && (h->metrics_listener = listen_metrics(o->metrics, error, bytes)) < 0) {
        return h->metrics_listener;
    }
    snprintf(log, sizeof log, "%s/audit.log", o->dir);
    h->audit = open(o->audit ? o->audit : log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (h->audit < 0) {
        snprintf(error, bytes, "cannot write the audit log: %s", strerror(errno));
        return -errno;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    h->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signals < 0 ? -errno : 0;
}

// ---- the loop ----------------------------------------------------------------------------------

static void take_signals(struct holder *h)
{
    struct signalfd_siginfo i;
    while (read(h->signals, &i, sizeof i) == sizeof i) {
        if (i.ssi_signo != SIGCHLD) {
            h->stopping = true;
        }
    }
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == h->worker) {
            worker_ended(h, status);
        }
    }
}

static void take_link(struct holder *h)
{
    struct link_message m;
    int fds[LINK_MOST_FDS];
    size_t count;
    char *text;
    // So many at once: the worker is not to be trusted with our time.
    for (int i = 0;
         i < LINK_MESSAGES && h->link >= 0 && link_receive(h->link, &m, &text, fds, &count) > 0;
         i++) {
        for (size_t j = 0; j < count; j++) {
            close(fds[j]);
        }
        if (m.kind == LINK_PONG) {
            h->pong_ms = holder_now_ms();
        } else if (m.kind == LINK_WANT_WEIGHTS) {
            held_want(h, &m.identity);
        } else if (m.kind == LINK_TEXT) {
            control_text(h, m.request, text ? text : "{}");
        }
        free(text);
    }
}

static void look_at_worker(struct holder *h)
{
    const struct link_message ping = {.kind = LINK_PING};
    uint64_t now = holder_now_ms();
    if (h->worker == 0) {
        if (h->restart_ms && now >= h->restart_ms) {
            int rc = worker_start(h);
            if (rc) {
                fprintf(stderr, "tensord: no worker: %s\n", strerror(-rc));
                h->restart_ms = now + PING_MS;
            }
        }
        return;
    }
    if (now - h->ping_ms < PING_MS) {
        return;
    }
    h->ping_ms = now;
    link_send(h->link, &ping, NULL, NULL, 0);
    if (h->options.watchdog_s && now - h->pong_ms > h->options.watchdog_s * 1000ull) {
        fprintf(stderr, "tensord: the worker has not answered for %u s and is ended\n",
                h->options.watchdog_s);
        kill(h->worker, SIGKILL);
        h->pong_ms = now;
    }
}

// A machine sends nothing: readable means that it is gone, or that it is no machine.
static bool is_gone(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void poll_once(struct holder *h)
{
    enum { MOST = 3 + HOLDER_CONTROLS + 2 * HOLDER_GUESTS };
    struct pollfd p[MOST];
    struct seat *seats[MOST];
    struct control *controls[MOST];
    int n = 0;
    p[n++] = (struct pollfd){.fd = h->signals, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = h->control_listener, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = h->link, .events = POLLIN}; // below 0: left out
    for (int i = 0; i < HOLDER_CONTROLS; i++) {
        if (h->controls[i].fd >= 0 && !h->controls[i].ended) {
            seats[n] = NULL;
            controls[n] = &h->controls[i];
            p[n++] = (struct pollfd){.fd = h->controls[i].fd, .events = POLLIN};
        }
    }
    for (int i = 0; i < HOLDER_GUESTS; i++) {
        struct seat *s = &h->seats[i];
        if (s->used) {
            seats[n] = s;
            p[n++] = (struct pollfd){.fd = s->listener, .events = POLLIN};
            if (s->machine >= 0) { // looked at first, so that its successor finds the seat free
                seats[n] = s;
                p[n++] = (struct pollfd){.fd = s->machine, .events = POLLIN};
            }
        }
    }
    uint64_t now = holder_now_ms();
    int wait = h->worker == 0 && h->restart_ms > now ? (int)(h->restart_ms - now) : PING_MS;
    if (poll(p, (nfds_t)n, h->worker == 0 && h->restart_ms && h->restart_ms <= now ? 0 : wait) <=
        0) {
        return;
    }
    // Those of the end first: what is done for one may end another one's place.
    for (int i = n; i-- > 3;) {
        if (!p[i].revents) {
            continue;
        }
        if (!seats[i]) {
            control_read(h, controls[i]);
        } else if (!seats[i]->used) {
            continue;
        } else if (p[i].fd == seats[i]->listener) {
            seat_accept(h, seats[i]);
        } else if (p[i].fd == seats[i]->machine && is_gone(p[i].fd)) {
            seat_lost(h, seats[i]);
        }
    }
    if (p[2].revents) {
        take_link(h);
    }
    if (p[1].revents) {
        control_accept(h);
    }
    if (p[0].revents) {
        take_signals(h);
    }
}

static void stop(struct holder *h)
{
    const struct link_message m = {.kind = LINK_STOP};
    uint64_t until = holder_now_ms() + STOP_MS;
    if (h->link >= 0) {
        link_send(h->link, &m, NULL, NULL, 0);
    }
    while (h->worker > 0 && holder_now_ms() < until) {
        struct pollfd p = {.fd = h->signals, .events = POLLIN};
        poll(&p, 1, 100);
        take_signals(h);
    }
    if (h->worker > 0) {
        kill(h->worker, SIGKILL);
    }
    for (int i = 0; i < HOLDER_GUESTS; i++) {
        if (h->seats[i].used) {
            seat_remove(h, &h->seats[i]);
        }
    }
    unlink(h->options.control);
}

int holder_main(const struct holder_options *o)
{
    static struct holder h = {.audit = -1, .metrics_listener = -1, .link = -1};
    char error[400] = "cannot start";
    h.options = *o;
    int rc = open_all(&h, error, sizeof error);
    if (!rc && (rc = worker_start(&h))) {
        snprintf(error, sizeof error, "no worker: %s", strerror(-rc));
    }
    if (rc) {
        fprintf(stderr, "tensord: %s\n", error);
        return 1;
    }
    fprintf(stderr, "tensord: ready, control socket %s\n", o->control);
    while (!h.stopping) {
        poll_once(&h);
        look_at_worker(&h);
    }
    stop(&h);
    fprintf(stderr, "tensord: stopped\n");
    return 0;
}
