// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The ivshmem client of connect_host.h. Source: QEMU docs/specs/ivshmem-spec, "Client-Server
// protocol": messages are 8 bytes, little-endian, some with a file descriptor.
#include "hypercall/guest/connect_host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SERVER_TIMEOUT_MS = 5000 };
#define MEMORY (-1)

// One message; *fd is -1 if none came with it.
static int receive(int socket, int64_t *value, int *fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    uint8_t bytes[8];
    size_t have = 0;
    *fd = -1;
    while (have < sizeof bytes) {
        struct pollfd p = {.fd = socket, .events = POLLIN};
        int n = poll(&p, 1, SERVER_TIMEOUT_MS);
        if (n == 0) {
            return -ETIMEDOUT;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        struct iovec v = {.iov_base = bytes + have, .iov_len = sizeof bytes - have};
        struct msghdr m = {.msg_iov = &v,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
        ssize_t got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : -ECONNRESET;
        }
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
            if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && *fd < 0) {
                memcpy(fd, CMSG_DATA(h), sizeof *fd);
            }
        }
        have += (size_t)got;
    }
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; i++) {
        word |= (uint64_t)bytes[i] << (8 * i);
    }
    *value = (int64_t)word;
    return 0;
}

static int greet(struct hc_connection *c, char *error, size_t error_bytes)
{
    int64_t value;
    int fd, rc = receive(c->socket, &value, &fd);
    if (fd >= 0) {
        close(fd);
    }
    if (!rc && value != 0) {
        snprintf(error, error_bytes, "the server speaks version %lld of the protocol, not 0",
                 (long long)value);
        return -EPROTO;
    }
    if (!rc) {
        rc = receive(c->socket, &c->id, &fd);
    }
    if (!rc && fd >= 0) {
        close(fd);
    }
    if (!rc) {
        rc = receive(c->socket, &value, &c->memory);
    }
    if (!rc && (value != MEMORY || c->memory < 0 || c->id < 0)) {
        rc = -EPROTO;
    }
    unsigned rings = 0, wakes = 0;
    while (!rc && (rings < HC_VECTOR_COUNT || wakes < HC_VECTOR_COUNT)) {
        rc = receive(c->socket, &value, &fd);
        if (!rc && fd >= 0 && value == HC_PEER_HOST && rings < HC_VECTOR_COUNT) {
            c->ring[rings++] = fd;
        } else if (!rc && fd >= 0 && value == c->id && wakes < HC_VECTOR_COUNT) {
            c->wake[wakes++] = fd;
        } else if (!rc) {
            if (fd >= 0) {
                close(fd);
            }
            rc = -EPROTO;
        }
    }
    if (rc) {
        snprintf(error, error_bytes, "the server's greeting: %s", strerror(-rc));
    }
    return rc;
}

static int map(struct hc_connection *c, char *error, size_t error_bytes)
{
    struct stat st;
    if (fstat(c->memory, &st) || st.st_size < HC_LEAST_REGION) {
        snprintf(error, error_bytes, "the server's memory is smaller than %d bytes",
                 HC_LEAST_REGION);
        return -EPROTO;
    }
    c->region_bytes = (uint64_t)st.st_size;
    c->region = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->memory, 0);
    if (c->region == MAP_FAILED) {
        int e = errno;
        c->region = NULL;
        snprintf(error, error_bytes, "mapping the server's memory: %s", strerror(e));
        return -e;
    }
    return 0;
}

int hc_connect(const char *path, struct hc_connection *c, char *error, size_t error_bytes)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *c = (struct hc_connection){
        .socket = -1, .memory = -1, .ring = {-1, -1}, .wake = {-1, -1}, .stop = -1};
    if (strlen(path) >= sizeof a.sun_path) {
        snprintf(error, error_bytes, "the socket's path is longer than %zu bytes",
                 sizeof a.sun_path - 1);
        return -ENAMETOOLONG;
    }
    memcpy(a.sun_path, path, strlen(path));
    c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&a, sizeof a)) {
        int e = errno;
        snprintf(error, error_bytes, "%s: %s", path, strerror(e));
        hc_disconnect(c);
        return -e;
    }
    int rc = greet(c, error, error_bytes);
    if (!rc) {
        rc = map(c, error, error_bytes);
    }
    if (rc) {
        hc_disconnect(c);
    }
    return rc;
}

// ---- the port ----------------------------------------------------------------------------------

static uint64_t now_ns(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void kick(void *ctx, unsigned vector)
{
    const struct hc_connection *c = ctx;
    uint64_t one = 1;
    ssize_t n;
    do {
        n = write(c->ring[vector], &one, sizeof one);
    } while (n < 0 && errno == EINTR);
}

// True if a doorbell was heard. Others share the file descriptions, so it may be in either mode.
static bool listen_for(const struct hc_connection *c, uint64_t ns)
{
    struct pollfd p[3] = {{.fd = c->wake[0], .events = POLLIN},
                          {.fd = c->wake[1], .events = POLLIN},
                          {.fd = c->stop, .events = POLLIN}};
    struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
    bool heard = false;
    if (ppoll(p, 3, &limit, NULL) > 0) {
        for (int i = 0; i < HC_VECTOR_COUNT; i++) {
            uint64_t count;
            if (p[i].revents & POLLIN) {
                heard |= read(c->wake[i], &count, sizeof count) == (ssize_t)sizeof count;
            }
        }
    }
    return heard;
}

static void wait_until(void *ctx, uint64_t deadline_ns)
{
    uint64_t now = now_ns(NULL);
    listen_for(ctx, deadline_ns > now ? deadline_ns - now : 0);
}

struct hc_port hc_connection_port(struct hc_connection *c)
{
    return (struct hc_port){.ctx = c, .kick = kick, .wait = wait_until, .now_ns = now_ns};
}

static void *watch(void *arg)
{
    struct hc_connection *c = arg;
    while (__atomic_load_n(&c->watching, __ATOMIC_ACQUIRE)) {
        if (listen_for(c, 1000000000u)) {
            c->woken(c->woken_ctx);
        }
    }
    return NULL;
}

int hc_connection_watch(struct hc_connection *c, void (*woken)(void *ctx), void *ctx)
{
    pthread_t thread;
    c->woken = woken;
    c->woken_ctx = ctx;
    c->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->stop < 0) {
        return -errno;
    }
    c->watching = true;
    int rc = pthread_create(&thread, NULL, watch, c);
    c->watching = rc == 0;
    c->watcher = (unsigned long)thread;
    return -rc;
}

void hc_disconnect(struct hc_connection *c)
{
    if (c->watching) {
        uint64_t one = 1;
        __atomic_store_n(&c->watching, false, __ATOMIC_RELEASE);
        if (write(c->stop, &one, sizeof one) == (ssize_t)sizeof one) {
            pthread_join((pthread_t)c->watcher, NULL);
        }
    }
    if (c->region) {
        munmap(c->region, c->region_bytes);
    }
    int fds[] = {c->socket, c->memory, c->stop, c->ring[0], c->ring[1], c->wake[0], c->wake[1]};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    *c = (struct hc_connection){
        .socket = -1, .memory = -1, .ring = {-1, -1}, .wake = {-1, -1}, .stop = -1};
}
