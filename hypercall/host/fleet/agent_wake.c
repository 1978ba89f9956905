// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Requests that wait for a guest (proxy.h tells of both ends). The endpoint connects here when no
// guest can take a request; the connection is held, nothing is read or answered, and closed when a
// guest is there: the endpoint then sends the request again, which it has kept.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int agent_wake_listen(struct agent *a, struct agent_wake *w, const char *folder,
                      const char *service, unsigned slot)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct stat s;
    char fresh[sizeof to.sun_path + 8];
    proxy_wake_path(folder, service, slot, w->path, sizeof w->path);
    if (w->listener >= 0 && stat(w->path, &s) == 0) {
        return 0;
    }
    agent_wake_close(a, w);
    w->listener = agent_take_listener(a, w->path);
    if (w->listener >= 0 && stat(w->path, &s) == 0) {
        return 0; // a worker before this one had it; what waits in it was not lost
    }
    // Under another name first: there is no time without a listener while an old one is replaced.
    snprintf(fresh, sizeof fresh, "%s.n", w->path);
    if (strlen(fresh) >= sizeof to.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(to.sun_path, fresh, strlen(fresh) + 1);
    unlink(fresh);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) != 0 || chmod(fresh, 0600) != 0 ||
        listen(fd, AGENT_HELD) != 0 || rename(fresh, w->path) != 0) {
        int rc = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    w->listener = fd;
    agent_lend_listener(a, w->path, fd);
    return 0;
}

static void answer(int fd, unsigned status, const char *reason, const char *message)
{
    char text[600], body[300];
    int n = snprintf(body, sizeof body,
                     "{\"error\":{\"code\":%u,\"message\":\"%s\",\"type\":\"unavailable_error\"}}",
                     status, message);
    int all = snprintf(text, sizeof text,
                       "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       "Retry-After: 5\r\nConnection: close\r\n\r\n%s",
                       status, reason, n, body);
    // It fits the socket's buffer; whoever has gone misses it.
    if (send(fd, text, (size_t)all, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        return;
    }
}

// With something unread a close would be a reset instead of an end.
static void drain(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

void agent_wake_refuse(struct agent_wake *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        drain(w->held[i].fd);
        answer(w->held[i].fd, 503, "Service Unavailable",
               "this model is scaled to zero guests; `tessera scale` gives it some");
    }
    agent_wake_release(w);
}

void agent_wake_release(struct agent_wake *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        drain(w->held[i].fd);
        close(w->held[i].fd);
    }
    w->count = 0;
}

void agent_wake_close(struct agent *a, struct agent_wake *w)
{
    agent_wake_release(w);
    if (w->listener >= 0) {
        agent_lend_listener(a, w->path, -1);
        close(w->listener);
    }
    w->listener = -1;
}

static void drop(struct agent_wake *w, unsigned i)
{
    close(w->held[i].fd);
    w->held[i] = w->held[--w->count];
}

void agent_wake_look(struct agent_wake *w, uint64_t now_ms)
{
    char bytes[4096];
    for (unsigned i = 0; i < w->count;) {
        // The request is read so that the end of its client shows; it is not kept.
        ssize_t n;
        while ((n = recv(w->held[i].fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        }
        bool gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        bool late = now_ms - w->held[i].since_ms > AGENT_HOLD_MS;
        if (late && !gone) { // a status that the endpoint does not try again
            answer(w->held[i].fd, 504, "Gateway Time-out",
                   "no guest of this model became ready in time");
        }
        if (gone || late) {
            drop(w, i);
        } else {
            i++;
        }
    }
    while (w->listener >= 0 && w->count < AGENT_HELD) {
        int fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            break;
        }
        w->held[w->count].fd = fd;
        w->held[w->count++].since_ms = now_ms;
    }
}
