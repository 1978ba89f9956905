// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The worker's life: started again when it ends, sooner the longer the last one lived. Guests are
// told at once, and get a new epoch with the next worker.
#include "hypercall/host/tensord/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUICK_MS = 2000, MOST_PAUSE_MS = 5000, FIRST_FD = 3 };

// In the child: descriptors 3 (link), 4 (audit log) and 5 (metrics); nothing else stays open.
static void become_worker(const struct holder *h, int link)
{
    const char *arguments[64] = {"tensord", "--worker"};
    char epoch[16], fds[64];
    int n = 2, from[3] = {link, h->audit, h->metrics_listener}, to[3];
    for (int i = 0; i < 3; i++) { // out of the way first
        to[i] = from[i] >= 0 ? fcntl(from[i], F_DUPFD, 64) : -1;
    }
    for (int i = 0; i < 3; i++) {
        if (to[i] >= 0 && dup2(to[i], FIRST_FD + i) < 0) {
            _exit(127);
        }
        if (to[i] < 0) {
            close(FIRST_FD + i);
        }
    }
    close_range(FIRST_FD + 3, ~0u, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(epoch, sizeof epoch, "%u", h->epoch);
    snprintf(fds, sizeof fds, "%d,%d,%d", FIRST_FD, h->audit >= 0 ? FIRST_FD + 1 : -1,
             h->metrics_listener >= 0 ? FIRST_FD + 2 : -1);
    arguments[n++] = "--epoch";
    arguments[n++] = epoch;
    arguments[n++] = "--descriptors";
    arguments[n++] = fds;
    for (int i = 0; h->options.worker_arguments[i] && n < 62; i++) {
        arguments[n++] = h->options.worker_arguments[i];
    }
    execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
    _exit(127);
}

int worker_start(struct holder *h)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        return -errno;
    }
    const int room = 1 << 20;
    for (int i = 0; i < 2; i++) {
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
    h->epoch++;
    h->worker = fork();
    if (h->worker == 0) {
        become_worker(h, pair[1]);
    }
    close(pair[1]);
    if (h->worker < 0) {
        close(pair[0]);
        return -errno;
    }
    h->link = pair[0];
    h->restart_ms = 0;
    h->started_ms = h->pong_ms = h->ping_ms = holder_now_ms();
    for (uint32_t i = 0; i < h->weights_count; i++) {
        held_announce(h, &h->weights[i]);
    }
    for (int i = 0; i < HOLDER_GUESTS; i++) {
        if (h->seats[i].used) {
            seat_announce(h, &h->seats[i]);
        }
    }
    return 0;
}

void worker_ended(struct holder *h, int status)
{
    uint64_t lived = holder_now_ms() - h->started_ms;
    close(h->link);
    h->link = -1;
    h->worker = 0;
    control_no_worker(h);
    if (h->stopping) {
        return;
    }
    h->quick_ends = lived < QUICK_MS ? h->quick_ends + 1 : 0;
    uint64_t pause = h->quick_ends > 1 ? 50ull << (h->quick_ends < 8 ? h->quick_ends : 8) : 0;
    h->restart_ms = holder_now_ms() + (pause < MOST_PAUSE_MS ? pause : MOST_PAUSE_MS);
    fprintf(stderr, "tensord: the worker ended (%s %d) after %llu ms; the next starts in %llu ms\n",
            WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (unsigned long long)lived,
            (unsigned long long)(h->restart_ms - holder_now_ms()));
    for (int i = 0; i < HOLDER_GUESTS; i++) {
        if (h->seats[i].used) {
            seat_set_state(&h->seats[i], HC_HOST_RESTARTING);
        }
    }
}
