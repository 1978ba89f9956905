// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The server's side of ivshmem for one guest. Messages are 8 bytes, little endian, each with at
// most one file descriptor. Source: QEMU docs/specs/ivshmem-spec, "Server-client protocol".
#include "ci/bench/call_floor/server.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROTOCOL_VERSION 0
#define REGION_FOLLOWS   (-1)

static int send_message(int to, int64_t value, int fd)
{
    int64_t wire = (int64_t)htole64((uint64_t)value);
    struct iovec io = {&wire, sizeof wire};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t n = sendmsg(to, &m, MSG_NOSIGNAL);
    return n == sizeof wire ? 0 : n < 0 ? -errno : -EIO;
}

// The version, the client's own id, the region, each other peer's vectors, the client's own.
static int hand_over(const struct server *s)
{
    int rc = send_message(s->client, PROTOCOL_VERSION, -1);
    rc = rc ? rc : send_message(s->client, FLOOR_GUEST_ID, -1);
    rc = rc ? rc : send_message(s->client, REGION_FOLLOWS, s->memory);
    for (int v = 0; v < FLOOR_VECTORS && !rc; v++) {
        rc = send_message(s->client, FLOOR_HOST_ID, s->host[v]);
    }
    for (int v = 0; v < FLOOR_VECTORS && !rc; v++) {
        rc = send_message(s->client, FLOOR_GUEST_ID, s->guest[v]);
    }
    return rc;
}

static int make_region(struct server *s)
{
    s->memory = memfd_create("call-floor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->memory < 0 || ftruncate(s->memory, FLOOR_BYTES) != 0 ||
        fcntl(s->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return -errno;
    }
    void *p = mmap(NULL, FLOOR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->memory, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    s->region = p;
    for (int v = 0; v < FLOOR_VECTORS; v++) {
        s->host[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        s->guest[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (s->host[v] < 0 || s->guest[v] < 0) {
            return -errno;
        }
    }
    return 0;
}

int server_open(struct server *s, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *s = (struct server){-1, -1, -1, {-1, -1}, {-1, -1}, NULL};
    if (strlen(path) >= sizeof at.sun_path) {
        return -ENAMETOOLONG;
    }
    strcpy(at.sun_path, path);
    int rc = make_region(s);
    if (rc == 0) {
        unlink(path);
        s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
            listen(s->listener, 1) != 0) {
            rc = -errno;
        }
    }
    if (rc) {
        server_close(s);
    }
    return rc;
}

int server_accept(struct server *s, int timeout_ms)
{
    struct pollfd p = {s->listener, POLLIN, 0};
    int n = poll(&p, 1, timeout_ms);
    if (n <= 0) {
        return n ? -errno : -ETIMEDOUT;
    }
    s->client = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    return s->client < 0 ? -errno : hand_over(s);
}

int server_is_gone(const struct server *s)
{
    struct pollfd p = {s->client, POLLIN, 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

static void drop(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void server_close(struct server *s)
{
    drop(&s->client);
    drop(&s->listener);
    for (int v = 0; v < FLOOR_VECTORS; v++) {
        drop(&s->host[v]);
        drop(&s->guest[v]);
    }
    if (s->region) {
        munmap(s->region, FLOOR_BYTES);
        s->region = NULL;
    }
    drop(&s->memory);
}
