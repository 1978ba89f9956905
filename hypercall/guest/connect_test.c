// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A process that plays a guest against servers that greet as they should, and that do not.
//
// Links: hypercall/guest/connect_host.c
#include "hypercall/guest/connect_host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    ORDERLY,
    WRONG_VERSION,
    NO_MEMORY,
    SMALL_MEMORY,
    STRANGE_PEER,
    NO_EVENT,
    MISPLACED,
    CLOSES,
    WAYS
};

struct server {
    char path[64];
    int listener, way, memory, events[4];
    pthread_t thread;
};

static void tell(int to, int64_t value, int fd)
{
    struct iovec v = {&value, sizeof value};
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
    }
    sendmsg(to, &m, MSG_NOSIGNAL);
}

static void *greet(void *arg)
{
    struct server *s = arg;
    int to = accept(s->listener, NULL, NULL);
    tell(to, s->way == WRONG_VERSION, -1);
    tell(to, HC_PEER_GUEST, -1);
    if (s->way != CLOSES) {
        tell(to, s->way == MISPLACED ? 3 : -1, s->way == NO_MEMORY ? -1 : s->memory);
        for (int i = 0; i < 4; i++) {
            int peer = i < 2 ? HC_PEER_HOST : HC_PEER_GUEST;
            tell(to, s->way == STRANGE_PEER && i == 1 ? 7 : peer,
                 s->way == NO_EVENT && i == 3 ? -1 : s->events[i]);
        }
    }
    shutdown(to, SHUT_WR);
    char end;
    if (s->way == ORDERLY && read(to, &end, 1) < 0) { // until the guest leaves
        perror("read");
    }
    close(to);
    return NULL;
}

static void server_start(struct server *s, int way)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *s = (struct server){.way = way};
    snprintf(s->path, sizeof s->path, "/tmp/tessera-connect-%d", (int)getpid());
    unlink(s->path);
    memcpy(a.sun_path, s->path, strlen(s->path));
    s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    s->memory = memfd_create("region", 0);
    assert_int_equal(ftruncate(s->memory, way == SMALL_MEMORY ? 4096 : HC_LEAST_REGION), 0);
    for (int i = 0; i < 4; i++) {
        s->events[i] = eventfd(0, EFD_NONBLOCK);
    }
    assert_int_equal(pthread_create(&s->thread, NULL, greet, s), 0);
}

static void server_end(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->listener);
    close(s->memory);
    for (int i = 0; i < 4; i++) {
        close(s->events[i]);
    }
    unlink(s->path);
}

static void doorbells_ring_both_ways(void **unused)
{
    (void)unused;
    struct server s;
    struct hc_connection c;
    char error[200] = "";
    uint64_t count, one = 1;
    server_start(&s, ORDERLY);
    assert_int_equal(hc_connect(s.path, &c, error, sizeof error), 0);
    assert_int_equal(c.id, HC_PEER_GUEST);
    assert_int_equal(c.region_bytes, HC_LEAST_REGION);
    struct hc_port p = hc_connection_port(&c);
    p.kick(p.ctx, HC_VECTOR_STATE);
    assert_int_equal(read(s.events[1], &count, 8), 8);
    assert_int_equal(read(s.events[0], &count, 8), -1);
    ((volatile uint8_t *)c.region)[5] = 77; // the memory is the same
    uint8_t byte = 0;
    assert_int_equal(pread(s.memory, &byte, 1, 5), 1);
    assert_int_equal(byte, 77);
    // A doorbell that rang before the wait ends it at once.
    assert_int_equal(write(s.events[2 + HC_VECTOR_CALLS], &one, 8), 8);
    p.wait(p.ctx, p.now_ns(p.ctx) + 3600ull * 1000000000u);
    assert_int_equal(read(s.events[2 + HC_VECTOR_CALLS], &count, 8), -1); // and is taken
    p.wait(p.ctx, p.now_ns(p.ctx) + 1000000);                             // the time is over
    hc_disconnect(&c);
    server_end(&s);
}

static int woken;
static void count_woken(void *ctx)
{
    (void)ctx;
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
}

static void a_watcher_hears_doorbells_and_ends(void **unused)
{
    (void)unused;
    struct server s;
    struct hc_connection c;
    char error[200] = "";
    uint64_t one = 1;
    server_start(&s, ORDERLY);
    assert_int_equal(hc_connect(s.path, &c, error, sizeof error), 0);
    assert_int_equal(hc_connection_watch(&c, count_woken, NULL), 0);
    assert_int_equal(write(s.events[2], &one, 8), 8);
    for (int i = 0; i < 5000 && !__atomic_load_n(&woken, __ATOMIC_SEQ_CST); i++) {
        poll(NULL, 0, 1);
    }
    assert_int_equal(woken, 1);
    hc_disconnect(&c);
    server_end(&s);
}

static void wrong_greetings_are_refused_in_words(void **unused)
{
    (void)unused;
    for (int way = WRONG_VERSION; way < WAYS; way++) {
        struct server s;
        struct hc_connection c;
        char error[200] = "";
        server_start(&s, way);
        int rc = hc_connect(s.path, &c, error, sizeof error);
        assert_int_equal(rc, way == CLOSES ? -ECONNRESET : -EPROTO);
        assert_int_not_equal(error[0], 0);
        assert_null(c.region);
        server_end(&s);
    }
    struct hc_connection c;
    char error[200] = "", path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    assert_int_equal(hc_connect("/tmp/no-such-socket", &c, error, sizeof error), -ENOENT);
    assert_int_equal(hc_connect(path, &c, error, sizeof error), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doorbells_ring_both_ways),
        cmocka_unit_test(a_watcher_hears_doorbells_and_ends),
        cmocka_unit_test(wrong_greetings_are_refused_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
