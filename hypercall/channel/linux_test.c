// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Channels between threads and processes of the host, over a mapped file: all kinds at full speed
// with every word compared, and a process that is killed in the middle and comes back.
//
// Links: hypercall/channel/layout.c hypercall/channel/attach.c hypercall/channel/session.c
// Links: hypercall/channel/hub.c hypercall/channel/send.c hypercall/channel/receive.c
// Links: hypercall/channel/linux_host.c tensor/quant/types.c
#include "hypercall/channel/channel_linux.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS   512u
#define TIMEOUT 60000000000ull

static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/channel-test-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}
static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void create(uint32_t kind, uint32_t ends, uint32_t slots)
{
    struct channel_format f = {kind, ends, slots, WORDS * 8};
    char error[160];
    if (channel_linux_create(path, 1 << 20, &f, error, sizeof(error)) != 0) {
        fail_msg("%s", error);
    }
}

struct party {
    pthread_t thread;
    uint32_t end, count;
    bool sends, receives, slow;
    uint32_t got, lost;
    int error;
    char reason[200];
    struct channel_linux *l;
};

static int send_words(struct channel *c, uint32_t number)
{
    struct channel_tensor t;
    int e = channel_lend(c, TIMEOUT, &t);
    if (e) {
        return e;
    }
    for (uint32_t i = 0; i < WORDS; i++) {
        ((uint64_t *)t.data)[i] = number * 1000003ull + i;
    }
    t.type = TN_I64;
    t.shape[0] = WORDS;
    t.tag = number;
    return channel_send(c, &t);
}

static bool words_are(const struct channel_tensor *t, uint32_t number)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        if (((uint64_t *)t->data)[i] != number * 1000003ull + i) {
            return false;
        }
    }
    return t->bytes == WORDS * 8;
}

static int receive_all(struct channel *c, struct party *p)
{
    uint32_t last = UINT32_MAX;
    while (last + 1 != p->count) {
        struct channel_tensor t;
        int e = channel_receive(c, TIMEOUT, &t);
        if (e) {
            return e;
        }
        if (!words_are(&t, t.tag) || (p->got && t.tag != last + 1 + t.lost)) {
            return -EILSEQ;
        }
        if (p->slow) {
            usleep(20);
            if (!words_are(&t, t.tag)) { // held: nobody may have touched it
                return -EILSEQ;
            }
        }
        last = t.tag;
        p->got++;
        p->lost += (uint32_t)t.lost;
        e = p->sends ? channel_send(c, &t) : channel_release(c, &t);
        if (e) {
            return e;
        }
    }
    return 0;
}

static void *run(void *arg)
{
    struct party *p = arg;
    struct channel *c = channel_linux_handle(p->l);
    p->error = channel_connect(c, TIMEOUT);
    if (p->error == 0 && p->receives) {
        p->error = receive_all(c, p);
    }
    for (uint32_t i = 0; p->error == 0 && p->sends && !p->receives && i < p->count; i++) {
        p->error = send_words(c, i);
    }
    if (p->error == 0 && p->sends) {
        p->error = channel_drain(c, TIMEOUT);
    }
    snprintf(p->reason, sizeof(p->reason), "%s", channel_reason(c));
    return NULL;
}

static void run_all(struct party *parties, uint32_t n)
{
    char error[160];
    for (uint32_t i = 0; i < n; i++) {
        if (channel_linux_open(path, parties[i].end, NULL, &parties[i].l, error, sizeof(error))) {
            fail_msg("%s", error);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(pthread_create(&parties[i].thread, NULL, run, &parties[i]), 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        pthread_join(parties[i].thread, NULL);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (parties[i].error) {
            fail_msg("end %u: %s (%s)", parties[i].end, strerror(-parties[i].error),
                     parties[i].reason);
        }
        channel_linux_close(parties[i].l);
    }
}

static void threads_pass_tensors_down_a_row(void **state)
{
    (void)state;
    create(HC_CHANNEL_PIPE, 4, 5);
    struct party p[] = {{.end = 0, .count = 3000, .sends = true},
                        {.end = 1, .count = 3000, .sends = true, .receives = true},
                        {.end = 2, .count = 3000, .sends = true, .receives = true},
                        {.end = 3, .count = 3000, .receives = true}};
    run_all(p, 4);
    assert_int_equal(p[3].got, 3000);
    assert_int_equal(p[3].lost, 0);
}

// The receiver closes right after the last release; the sender, which looks all the time, must have
// that slot back and not take the receiver for one that closed too early.
static _Alignas(HC_CHANNEL_PAGE) uint8_t memory[1 << 15];

static void *receive_and_close(void *arg)
{
    struct channel *c = arg;
    struct channel_tensor t;
    int *e = malloc(sizeof(*e));
    *e = channel_connect(c, TIMEOUT);
    for (unsigned i = 0; *e == 0 && i < 2; i++) {
        *e = channel_receive(c, TIMEOUT, &t);
        *e = *e ? *e : channel_release(c, &t);
    }
    channel_close(c);
    return e;
}

static void a_receiver_that_closes_at_once_has_given_all_back(void **state)
{
    (void)state;
    const struct channel_format f = {HC_CHANNEL_PIPE, 2, 2, WORDS * 8};
    char error[160];
    for (unsigned round = 0; round < 2000; round++) {
        struct channel *c[2];
        pthread_t thread;
        int *received;
        assert_int_equal(channel_create(memory, sizeof(memory), &f, error, sizeof(error)), 0);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(channel_attach(memory, sizeof(memory), i, &channel_linux_port, NULL,
                                            &c[i], error, sizeof(error)),
                             0);
        }
        assert_int_equal(pthread_create(&thread, NULL, receive_and_close, c[1]), 0);
        assert_int_equal(channel_connect(c[0], TIMEOUT), 0);
        assert_int_equal(send_words(c[0], 0), 0);
        assert_int_equal(send_words(c[0], 1), 0);
        int e = channel_drain(c[0], TIMEOUT);
        if (e) {
            fail_msg("round %u: %s", round, channel_reason(c[0]));
        }
        pthread_join(thread, (void **)&received);
        assert_int_equal(*received, 0);
        free(received);
        channel_close(c[0]);
    }
}

static void threads_broadcast(void **state)
{
    (void)state;
    create(HC_CHANNEL_BROADCAST, 4, 5);
    struct party p[] = {{.end = 0, .count = 2000, .sends = true},
                        {.end = 1, .count = 2000, .receives = true},
                        {.end = 2, .count = 2000, .receives = true, .slow = true},
                        {.end = 3, .count = 2000, .receives = true}};
    run_all(p, 4);
    for (unsigned i = 1; i < 4; i++) {
        assert_in_range(p[i].got, 1, 2000);
        assert_int_equal(p[i].lost, 0);
    }
}

static void a_ring_overwrites_under_a_slow_reader_but_never_what_it_holds(void **state)
{
    (void)state;
    create(HC_CHANNEL_RING, 2, 4);
    struct party p[] = {{.end = 0, .count = 20000, .sends = true},
                        {.end = 1, .count = 20000, .receives = true, .slow = true}};
    run_all(p, 2);
    assert_int_equal(p[1].got + p[1].lost, 20000);
    assert_true(p[1].lost > 0);
}

// ---- a process that is killed ------------------------------------------------------------------
static const struct channel_options quick = {.dead_ns = 1000000000};

// The child sends without end.
static pid_t sender(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct channel_linux *l;
        char error[160];
        if (channel_linux_open(path, 0, &quick, &l, error, sizeof(error)) != 0 ||
            channel_connect(channel_linux_handle(l), TIMEOUT) != 0) {
            _exit(1);
        }
        for (uint32_t i = 0; send_words(channel_linux_handle(l), i) == 0; i++) {
        }
        _exit(2);
    }
    return pid;
}

static void a_killed_sender_is_noticed_and_its_successor_starts_clean(void **state)
{
    (void)state;
    create(HC_CHANNEL_PIPE, 2, 4);
    struct channel_linux *l;
    struct channel_tensor t;
    char error[160];
    assert_int_equal(channel_linux_open(path, 1, &quick, &l, error, sizeof(error)), 0);
    struct channel *c = channel_linux_handle(l);
    for (unsigned round = 0; round < 3; round++) {
        pid_t pid = sender();
        assert_int_equal(channel_connect(c, TIMEOUT), 0);
        for (uint32_t i = 0; i < 500; i++) { // from its first one on, each time
            assert_int_equal(channel_receive(c, TIMEOUT, &t), 0);
            assert_int_equal(t.tag, i);
            assert_true(words_are(&t, i));
            assert_int_equal(channel_release(c, &t), 0);
        }
        kill(pid, SIGKILL);
        int status, e;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        uint32_t next = 500;
        while ((e = channel_receive(c, TIMEOUT, &t)) == 0) { // whole, or not at all
            assert_int_equal(t.tag, next);
            assert_true(words_are(&t, next));
            next++;
            assert_int_equal(channel_release(c, &t), 0);
        }
        assert_int_equal(e, -EPIPE);
        assert_non_null(strstr(channel_reason(c), "has not beaten"));
    }
    channel_linux_close(l);
}

static void a_stopped_process_that_wakes_up_is_refused(void **state)
{
    (void)state;
    create(HC_CHANNEL_PIPE, 2, 4);
    struct channel_linux *l, *successor;
    struct channel_tensor t;
    char error[160];
    assert_int_equal(channel_linux_open(path, 1, &quick, &l, error, sizeof(error)), 0);
    struct channel *c = channel_linux_handle(l);
    pid_t pid = sender();
    assert_int_equal(channel_connect(c, TIMEOUT), 0);
    assert_int_equal(channel_linux_open(path, 0, &quick, &successor, error, sizeof(error)), -EBUSY);
    kill(pid, SIGSTOP);
    int e, status;
    while ((e = channel_receive(c, TIMEOUT, &t)) == 0) {
        assert_int_equal(channel_release(c, &t), 0);
    }
    assert_int_equal(e, -EPIPE);
    assert_int_equal(channel_linux_open(path, 0, &quick, &successor, error, sizeof(error)), 0);
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0); // it learns that the end is another's, and ends by itself
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    channel_linux_close(successor);
    channel_linux_close(l);
}

static void files_that_are_no_channels_are_refused(void **state)
{
    (void)state;
    struct channel_linux *l;
    struct channel_format f = {HC_CHANNEL_PIPE, 2, 4, 4096};
    char error[160];
    assert_int_equal(channel_linux_open("/nowhere/x", 0, NULL, &l, error, sizeof(error)), -ENOENT);
    assert_int_equal(channel_linux_open(path, 0, NULL, &l, error, sizeof(error)), -EINVAL); // empty
    assert_int_equal(truncate(path, 1 << 20), 0);
    assert_int_equal(channel_linux_open(path, 0, NULL, &l, error, sizeof(error)), -ENODEV);
    assert_non_null(strstr(error, "no channel lies there yet"));
    assert_int_equal(channel_linux_create(path, 1 << 21, &f, error, sizeof(error)), -EEXIST);
    assert_int_equal(channel_linux_create(path, 1 << 20, &f, error, sizeof(error)), 0);
    assert_int_equal(channel_linux_create(path, 1 << 20, &f, error, sizeof(error)), 0);
    f.slots = 5;
    assert_int_equal(channel_linux_create(path, 1 << 20, &f, error, sizeof(error)), -EEXIST);
    assert_int_equal(channel_linux_open(path, 2, NULL, &l, error, sizeof(error)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
        T(threads_pass_tensors_down_a_row),
        T(a_receiver_that_closes_at_once_has_given_all_back),
        T(threads_broadcast),
        T(a_ring_overwrites_under_a_slow_reader_but_never_what_it_holds),
        T(a_killed_sender_is_noticed_and_its_successor_starts_clean),
        T(a_stopped_process_that_wakes_up_is_refused),
        T(files_that_are_no_channels_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
