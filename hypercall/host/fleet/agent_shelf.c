// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Listening sockets that both of the agent's processes hold, so that connections queue while one of
// them is started anew. They go over the socket between both, a message each: a letter and a path.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static int find(const struct agent_shelf *s, const char *path)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (strcmp(s->item[i].path, path) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void drop(struct agent_shelf *s, const char *path)
{
    int i = find(s, path);
    if (i >= 0) {
        close(s->item[i].fd);
        s->item[i] = s->item[--s->count];
    }
}

// Takes fd over.
static void put(struct agent_shelf *s, const char *path, int fd)
{
    drop(s, path);
    if (s->count == AGENT_SHELF) {
        close(fd);
        return;
    }
    snprintf(s->item[s->count].path, sizeof s->item[0].path, "%.107s", path);
    s->item[s->count++].fd = fd;
}

void agent_link_send(int link, char letter, const char *path, int fd)
{
    char text[120];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = text,
                         .iov_len = (size_t)snprintf(text, sizeof text, "%c%.107s", letter, path)};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        *h = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
    }
    // What the other one misses it makes anew.
    sendmsg(link, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void agent_link_send_shelf(int link, const struct agent_shelf *s)
{
    const int room = ROOM;
    setsockopt(link, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    for (unsigned i = 0; i < s->count; i++) {
        agent_link_send(link, 'w', s->item[i].path, s->item[i].fd);
    }
    agent_link_send(link, 'd', "", -1);
}

int agent_link_receive(int link, struct agent_shelf *s)
{
    char text[120];
    int fd = -1;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(link, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    text[n] = 0;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&fd, CMSG_DATA(h), sizeof fd);
    }
    if (text[0] == 'w' && fd >= 0) {
        put(s, text + 1, fd);
        return 'w';
    }
    if (fd >= 0) {
        close(fd);
    }
    if (text[0] == 'x') {
        drop(s, text + 1);
    }
    return text[0];
}

void agent_link_receive_shelf(int link, struct agent_shelf *s)
{
    uint64_t until = agent_now_ms() + 2000;
    for (int got = 0; got >= 0 && got != 'd' && agent_now_ms() < until;) {
        struct pollfd p = {.fd = link, .events = POLLIN};
        poll(&p, 1, 100);
        got = agent_link_receive(link, s);
    }
}

int agent_take_listener(struct agent *a, const char *path)
{
    int i = find(&a->shelf, path);
    return i < 0 ? -1 : fcntl(a->shelf.item[i].fd, F_DUPFD_CLOEXEC, 3);
}

void agent_lend_listener(struct agent *a, const char *path, int fd)
{
    int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (own >= 0) {
        put(&a->shelf, path, own);
    } else {
        drop(&a->shelf, path);
    }
    agent_link_send(a->link, own >= 0 ? 'w' : 'x', path, own);
}
