// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Seats: a listening socket a guest, and for each machine that connects a fresh region and fresh
// eventfds. Speaks the ivshmem server protocol (QEMU docs/specs/ivshmem-spec): 8-byte little-endian
// numbers, file descriptors beside them.
#include "hypercall/host/tensord/holder.h"

#include "hypercall/abi/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_name(const char *t)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(t);
    return n > 0 && n < 64 && t[0] != '.' && t[0] != '-' && strspn(t, allowed) == n;
}

struct seat *seat_find(struct holder *h, const char *name)
{
    for (int i = 0; i < HOLDER_GUESTS; i++) {
        if (h->seats[i].used && strcmp(h->seats[i].name, name) == 0) {
            return &h->seats[i];
        }
    }
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(a.sun_path, path); // seat_add has looked at its length
    unlink(path);
    mode_t before = umask(0177);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
    umask(before);
    if (rc || listen(fd, 1)) {
        rc = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    return fd;
}

int seat_add(struct holder *h, const char *name, uint64_t region_bytes,
             const struct guest_policy *policy, struct seat **out, char *error, size_t bytes)
{
    struct seat *s = seat_find(h, name);
    if (!is_name(name)) {
        snprintf(error, bytes, "a guest's name has 1 to 63 letters, digits, '.', '_' and '-'");
        return -EINVAL;
    }
    if (s && s->machine >= 0) {
        snprintf(error, bytes, "a guest named %s is connected; remove it first", name);
        return -EEXIST;
    }
    if (s) {
        seat_remove(h, s);
    }
    for (int i = 0; i < HOLDER_GUESTS && (!s || s->used); i++) {
        s = &h->seats[i];
    }
    if (!s || s->used) {
        snprintf(error, bytes, "there are %d guests already", HOLDER_GUESTS);
        return -ENOSPC;
    }
    *s = (struct seat){.number = ++h->next_number,
                       .policy = *policy,
                       .region_bytes = region_bytes,
                       .machine = -1,
                       .region = -1};
    int n = snprintf(s->path, sizeof s->path, "%s/%s.ivshmem", h->options.dir, name);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->listener = n > 0 && (size_t)n < sizeof s->path ? listen_at(s->path) : -ENAMETOOLONG;
    if (s->listener < 0) {
        snprintf(error, bytes, "cannot listen at %s: %s", s->path, strerror(-s->listener));
        return s->listener;
    }
    s->used = true;
    *out = s;
    return 0;
}

void seat_remove(struct holder *h, struct seat *s)
{
    seat_lost(h, s);
    close(s->listener);
    unlink(s->path);
    s->used = false;
}

// ---- a machine comes ---------------------------------------------------------------------------

static void kick(const struct seat *s, unsigned vector)
{
    const uint64_t one = 1;
    struct pollfd p = {.fd = s->to_guest[vector], .events = POLLOUT};
    // Full: it is on its way. Whether a write would wait then, the machine's side decides.
    if (poll(&p, 1, 0) == 1) {
        ssize_t n = write(s->to_guest[vector], &one, sizeof one);
        (void)n;
    }
}

void seat_set_state(struct seat *s, enum hc_host_state state)
{
    if (s->page) {
        hc_store(&s->page->state, state);
        kick(s, HC_VECTOR_STATE);
    }
}

static int make_region(struct seat *s)
{
    s->region = memfd_create("tessera-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->region < 0 || ftruncate(s->region, (off_t)s->region_bytes) ||
        fcntl(s->region, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        return -errno;
    }
    void *page =
        mmap(NULL, sizeof *s->page, PROT_READ | PROT_WRITE, MAP_SHARED, s->region, HC_HOST_PAGE);
    if (page == MAP_FAILED) {
        return -errno;
    }
    s->page = page;
    s->page->magic = HC_MAGIC;
    s->page->version = HC_ABI_VERSION;
    s->page->region_bytes = s->region_bytes;
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        s->from_guest[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        s->to_guest[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (s->from_guest[i] < 0 || s->to_guest[i] < 0) {
            return -errno;
        }
    }
    return 0;
}

static int send_number(int socket, int64_t number, int fd)
{
    struct iovec part = {&number, sizeof number};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL) == sizeof number ? 0 : -EIO;
}

// Version, the machine's number, the memory, our eventfds, its own.
static int greet(const struct seat *s)
{
    int rc = send_number(s->machine, 0, -1);
    rc = rc ? rc : send_number(s->machine, HC_PEER_GUEST, -1);
    rc = rc ? rc : send_number(s->machine, -1, s->region);
    for (int i = 0; !rc && i < HC_VECTOR_COUNT; i++) {
        rc = send_number(s->machine, HC_PEER_HOST, s->from_guest[i]);
    }
    for (int i = 0; !rc && i < HC_VECTOR_COUNT; i++) {
        rc = send_number(s->machine, HC_PEER_GUEST, s->to_guest[i]);
    }
    return rc;
}

void seat_announce(struct holder *h, struct seat *s)
{
    struct link_message m = {
        .kind = LINK_GUEST, .guest = s->number, .bytes = s->region_bytes, .policy = s->policy};
    int fds[LINK_GUEST_FDS] = {s->region, s->from_guest[0], s->from_guest[1], s->to_guest[0],
                               s->to_guest[1]};
    snprintf(m.name, sizeof m.name, "%s", s->name);
    if (h->link >= 0 && s->machine >= 0) {
        link_send(h->link, &m, NULL, fds, LINK_GUEST_FDS);
    }
}

void seat_accept(struct holder *h, struct seat *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (s->machine >= 0) { // one machine a guest
        close(fd);
        return;
    }
    s->machine = fd;
    s->region = -1;
    s->page = NULL;
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        s->from_guest[i] = s->to_guest[i] = -1;
    }
    int rc = make_region(s);
    if (!rc) {
        rc = greet(s);
    }
    if (rc) {
        fprintf(stderr, "tensord: %s: %s\n", s->name, strerror(-rc));
        seat_lost(h, s);
        return;
    }
    seat_announce(h, s);
}

static void drop(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void seat_lost(struct holder *h, struct seat *s)
{
    const struct link_message m = {.kind = LINK_GUEST_GONE, .guest = s->number};
    if (s->machine < 0) {
        return;
    }
    if (h->link >= 0) {
        link_send(h->link, &m, NULL, NULL, 0);
    }
    // A machine that is only cut off from its socket runs on, alone.
    seat_set_state(s, HC_HOST_GONE);
    if (s->page) {
        munmap(s->page, sizeof *s->page);
    }
    s->page = NULL;
    drop(&s->machine);
    drop(&s->region);
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        drop(&s->from_guest[i]);
        drop(&s->to_guest[i]);
    }
    // The worker's number for the next machine at this seat is another one.
    s->number = ++h->next_number;
}
