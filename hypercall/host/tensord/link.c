// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Messages of link.h over SOCK_SEQPACKET, with file descriptors (unix(7), SCM_RIGHTS).
#include "hypercall/host/tensord/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(LINK_MOST_FDS * sizeof(int))];
};

static int send_once(int socket, struct msghdr *h)
{
    for (;;) {
        if (sendmsg(socket, h, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return 0;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN) {
            return -errno;
        }
        struct pollfd p = {.fd = socket, .events = POLLOUT};
        if (poll(&p, 1, 1000) <= 0) {
            return -ETIMEDOUT;
        }
    }
}

int link_send(int socket, const struct link_message *m, const char *text, const int *fds,
              size_t fd_count)
{
    struct link_message copy = *m;
    copy.text_bytes = text ? (uint32_t)strlen(text) : 0;
    if (copy.text_bytes > LINK_MOST_TEXT || fd_count > LINK_MOST_FDS) {
        return -E2BIG;
    }
    struct iovec parts[2] = {{&copy, sizeof copy}, {(void *)(uintptr_t)text, copy.text_bytes}};
    union control control = {0};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = 2};
    if (fd_count) {
        h.msg_control = &control;
        h.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    return send_once(socket, &h);
}

static void take_fds(struct msghdr *h, int *fds, size_t *count)
{
    *count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*count < LINK_MOST_FDS) {
                fds[(*count)++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

int link_receive(int socket, struct link_message *m, char **text, int fds[LINK_MOST_FDS],
                 size_t *fd_count)
{
    char *room = malloc(LINK_MOST_TEXT + 1);
    *text = NULL;
    *fd_count = 0;
    if (!room) {
        return -ENOMEM;
    }
    struct iovec parts[2] = {{m, sizeof *m}, {room, LINK_MOST_TEXT}};
    union control control;
    struct msghdr h = {.msg_iov = parts,
                       .msg_iovlen = 2,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(socket, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        free(room);
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    take_fds(&h, fds, fd_count);
    if ((size_t)n < sizeof *m || m->text_bytes != (size_t)n - sizeof *m) {
        for (size_t i = 0; i < *fd_count; i++) {
            close(fds[i]);
        }
        free(room);
        return n == 0 ? -EPIPE : -EPROTO;
    }
    m->name[sizeof m->name - 1] = 0;
    if (m->text_bytes) {
        room[m->text_bytes] = 0;
        *text = room;
    } else {
        free(room);
    }
    return 1;
}
