// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests of the tool: answers tensord's control protocol and gives guests an ivshmem region that
// nobody serves (QEMU docs/specs/ivshmem-spec). It computes nothing. Requests go to DIR/requests,
// its process to DIR/pid.
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { GUESTS = 16, VECTORS = 2 };

static struct guest {
    char name[64], path[108];
    int listener, connection, region; // -1: none
    int events[VECTORS];
} guests[GUESTS];
static const char *folder;

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

static void send_message(int to, int64_t value, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec io = {&value, sizeof value};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(to, &m, MSG_NOSIGNAL) < 0) {
        perror("sendmsg");
    }
}

// Version 0, the peer's number (0: QEMU is the master), the region, and the peer's own vectors.
static void welcome(struct guest *g)
{
    g->connection = accept(g->listener, NULL, NULL);
    send_message(g->connection, 0, -1);
    send_message(g->connection, 0, -1);
    send_message(g->connection, -1, g->region);
    for (int v = 0; v < VECTORS; v++) {
        send_message(g->connection, 0, g->events[v]);
    }
}

static struct guest *find(const char *name)
{
    for (int i = 0; name && i < GUESTS; i++) {
        if (strcmp(guests[i].name, name) == 0) {
            return &guests[i];
        }
    }
    return NULL;
}

static bool add(const char *name, long long mb, struct guest **out)
{
    struct guest *g = find("");
    *out = g;
    if (!name || !name[0] || strlen(name) >= sizeof g->name || find(name) || !g || mb < 1) {
        return false;
    }
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->path, sizeof g->path, "%.40s/%.50s.ivshmem", folder, name);
    g->listener = listen_at(g->path);
    g->region = memfd_create(name, MFD_CLOEXEC);
    for (int v = 0; v < VECTORS; v++) {
        g->events[v] = eventfd(0, EFD_CLOEXEC);
    }
    return g->region >= 0 && ftruncate(g->region, mb << 20) == 0;
}

static void drop(struct guest *g)
{
    unlink(g->path);
    close(g->listener);
    close(g->connection);
    close(g->region);
    for (int v = 0; v < VECTORS; v++) {
        close(g->events[v]);
    }
    *g = (struct guest){.listener = -1, .connection = -1, .region = -1};
}

static json_t *answer(json_t *request)
{
    const char *op = json_string_value(json_object_get(request, "op"));
    const char *name = json_string_value(json_object_get(request, "name"));
    struct guest *g;
    op = op ? op : "";
    if (strcmp(op, "ping") == 0) {
        return json_pack("{sbss}", "ok", 1, "version", "fake");
    }
    if (strcmp(op, "add-model") == 0) {
        return json_pack("{sbsO}", "ok", 1, "identity", json_object_get(request, "identity"));
    }
    if (strcmp(op, "add-guest") == 0 &&
        add(name, json_integer_value(json_object_get(request, "region_mb")), &g)) {
        return json_pack("{sbsssi}", "ok", 1, "socket", g->path, "vectors", VECTORS);
    }
    if (strcmp(op, "remove-guest") == 0 && name && name[0] && (g = find(name))) {
        drop(g);
        return json_pack("{sb}", "ok", 1);
    }
    return json_pack("{sbss}", "ok", 0, "error", "the stand-in cannot do that");
}

// One client at a time, until it hangs up.
static void serve(int listener, FILE *log)
{
    char line[8192];
    int fd = accept(listener, NULL, NULL);
    FILE *in = fdopen(fd, "r");
    while (in && fgets(line, sizeof line, in)) {
        fputs(line, log);
        fflush(log);
        json_t *request = json_loads(line, 0, NULL), *reply = answer(request);
        char *text = json_dumps(reply, JSON_COMPACT);
        dprintf(fd, "%s\n", text);
        free(text);
        json_decref(reply);
        json_decref(request);
    }
    if (in) {
        fclose(in);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || strcmp(argv[1], "--dir") != 0 || strcmp(argv[3], "--control") != 0) {
        fprintf(stderr, "usage: tensord --dir DIR --control SOCKET\n");
        return 2;
    }
    char requests[512];
    folder = argv[2];
    snprintf(requests, sizeof requests, "%s/requests", folder);
    FILE *log = fopen(requests, "ae");
    if (!log) {
        perror(requests);
        return 1;
    }
    snprintf(requests, sizeof requests, "%s/pid", folder);
    FILE *pid = fopen(requests, "we");
    if (!pid || fprintf(pid, "%d\n", getpid()) < 0 || fclose(pid) != 0) {
        perror(requests);
        return 1;
    }
    alarm(300); // a test's end, whatever happens
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < GUESTS; i++) {
        guests[i] = (struct guest){.listener = -1, .connection = -1, .region = -1};
    }
    int control = listen_at(argv[4]);
    for (;;) {
        struct pollfd p[GUESTS + 1] = {{.fd = control, .events = POLLIN}};
        for (int i = 0; i < GUESTS; i++) { // an entry of -1 is passed over
            p[i + 1] = (struct pollfd){.fd = guests[i].listener, .events = POLLIN};
        }
        if (poll(p, GUESTS + 1, -1) < 0) {
            continue;
        }
        for (int i = 0; i < GUESTS; i++) {
            if (p[i + 1].revents & POLLIN) {
                welcome(&guests[i]);
            }
        }
        if (p[0].revents & POLLIN) {
            serve(control, log);
        }
    }
}
