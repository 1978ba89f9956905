// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What holder and worker tell each other arrives whole, with its descriptors, or not at all.
//
// Links: hypercall/host/tensord/link.c
#include "hypercall/host/tensord/link.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void open_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static int open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

static void messages_arrive_whole(void **unused)
{
    (void)unused;
    struct link_message m = {.kind = LINK_GUEST, .guest = 7, .bytes = 99, .name = "seven"}, got;
    int pair[2], fds[LINK_GUEST_FDS], taken[LINK_MOST_FDS];
    size_t count;
    char *text, *long_text = malloc(LINK_MOST_TEXT + 2);
    open_pair(pair);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 0);
    for (int i = 0; i < LINK_GUEST_FDS; i++) {
        fds[i] = eventfd((unsigned)i + 1, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    assert_int_equal(link_send(pair[0], &m, NULL, fds, LINK_GUEST_FDS), 0);
    assert_int_equal(link_send(pair[0], &m, "some text", NULL, 0), 0);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_int_equal(count, LINK_GUEST_FDS);
    assert_null(text);
    assert_int_equal(got.guest, 7);
    assert_string_equal(got.name, "seven");
    for (int i = 0; i < LINK_GUEST_FDS; i++) { // the same, in their order
        uint64_t value;
        assert_int_equal(read(taken[i], &value, sizeof value), sizeof value);
        assert_int_equal(value, i + 1);
        close(taken[i]);
        close(fds[i]);
    }
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_int_equal(count, 0);
    assert_string_equal(text, "some text");
    free(text);
    // The longest text, and one that is longer.
    memset(long_text, 'x', LINK_MOST_TEXT + 1);
    long_text[LINK_MOST_TEXT + 1] = 0;
    assert_int_equal(link_send(pair[0], &m, long_text, NULL, 0), -E2BIG);
    long_text[LINK_MOST_TEXT] = 0;
    const int room = 1 << 20; // as the holder sets it
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    assert_int_equal(link_send(pair[0], &m, long_text, NULL, 0), 0);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_string_equal(text, long_text);
    free(text);
    free(long_text);
    close_pair(pair);
}

static void messages_that_are_none(void **unused)
{
    (void)unused;
    struct link_message m = {.kind = LINK_TEXT}, got;
    int pair[2], taken[LINK_MOST_FDS], fd = eventfd(0, EFD_CLOEXEC);
    size_t count;
    char *text;
    open_pair(pair);
    int before = open_descriptors();
    for (size_t bytes = 1; bytes < sizeof m; bytes += 37) { // too short
        assert_int_equal(send(pair[0], &m, bytes, 0), bytes);
        assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), -EPROTO);
    }
    m.text_bytes = 5; // of which none come, and a descriptor that must not stay open
    struct iovec part = {&m, sizeof m};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct msghdr h = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = CMSG_SPACE(sizeof fd)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    assert_int_equal(sendmsg(pair[0], &h, 0), sizeof m);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), -EPROTO);
    assert_int_equal(open_descriptors(), before);
    // More descriptors than any message has: those beyond are not left open.
    m.text_bytes = 0;
    int many[8] = {fd, fd, fd, fd, fd, fd, fd, fd};
    h.msg_controllen = CMSG_SPACE(sizeof many);
    c->cmsg_len = CMSG_LEN(sizeof many);
    memcpy(CMSG_DATA(c), many, sizeof many);
    assert_int_equal(sendmsg(pair[0], &h, 0), sizeof m);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_in_range(count, 0, LINK_MOST_FDS);
    for (size_t i = 0; i < count; i++) {
        close(taken[i]);
    }
    assert_int_equal(open_descriptors(), before);
    // A name without an end gets one.
    memset(m.name, 'n', sizeof m.name);
    assert_int_equal(send(pair[0], &m, sizeof m, 0), sizeof m);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_int_equal(strlen(got.name), sizeof m.name - 1);
    close(fd);
    close_pair(pair);
}

static void the_other_side_has_ended(void **unused)
{
    (void)unused;
    struct link_message m = {.kind = LINK_PING}, got;
    int pair[2], taken[LINK_MOST_FDS];
    size_t count;
    char *text;
    open_pair(pair);
    assert_int_equal(link_send(pair[0], &m, NULL, NULL, 0), 0);
    close(pair[0]); // what it said before is still heard
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), 1);
    assert_int_equal(got.kind, LINK_PING);
    assert_int_equal(link_receive(pair[1], &got, &text, taken, &count), -EPIPE);
    assert_int_equal(link_send(pair[1], &m, NULL, NULL, 0), -EPIPE); // and no signal
    close(pair[1]);
}

// Nobody takes the messages: an error after a while, not a wait for ever.
static void the_other_side_is_silent(void **unused)
{
    (void)unused;
    struct link_message m = {.kind = LINK_PING};
    int pair[2], rc = 0;
    open_pair(pair);
    for (int i = 0; i < 100000 && !rc; i++) {
        rc = link_send(pair[0], &m, NULL, NULL, 0);
    }
    assert_int_equal(rc, -ETIMEDOUT);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(messages_arrive_whole),
        cmocka_unit_test(messages_that_are_none),
        cmocka_unit_test(the_other_side_has_ended),
        cmocka_unit_test(the_other_side_is_silent),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
