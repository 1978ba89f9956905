// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Round trips between two processes of the host, for information beside those of a guest.
#include "ci/bench/call_floor/ping_pong.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOST_NS 2000000000ull // the other process is gone or starved

struct words {
    uint32_t question;
    uint8_t pad0[60];
    uint32_t answer;
    uint8_t pad1[60];
};

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int spin(const uint32_t *word, uint32_t wanted)
{
    uint64_t give_up = 0;
    for (uint32_t i = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != wanted; i++) {
        if (i % (1u << 16) == 0) {
            uint64_t now = now_ns();
            give_up = give_up ? give_up : now + LOST_NS;
            if (now > give_up) {
                return -ETIMEDOUT;
            }
        }
    }
    return 0;
}

static int wait_for(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    uint64_t events;
    int n = poll(&p, 1, (int)(LOST_NS / 1000000u));
    if (n <= 0) {
        return n ? -errno : -ETIMEDOUT;
    }
    return read(fd, &events, sizeof events) == sizeof events ? 0 : -errno;
}

static int wake(int fd)
{
    uint64_t one = 1;
    return write(fd, &one, sizeof one) == sizeof one ? 0 : -errno;
}

static int answer_all(struct words *w, const int *fd, bool sleeping, size_t count)
{
    int rc = 0;
    for (uint32_t i = 1; i <= count && !rc; i++) {
        rc = sleeping ? wait_for(fd[0]) : spin(&w->question, i);
        __atomic_store_n(&w->answer, i, __ATOMIC_RELEASE);
        if (!rc && sleeping) {
            rc = wake(fd[1]);
        }
    }
    return rc;
}

static int ask_all(struct words *w, const int *fd, bool sleeping, uint64_t *ns, size_t count)
{
    int rc = 0;
    for (uint32_t i = 1; i <= count && !rc; i++) {
        uint64_t begun = now_ns();
        __atomic_store_n(&w->question, i, __ATOMIC_RELEASE);
        if (sleeping) {
            rc = wake(fd[0]);
            rc = rc ? rc : wait_for(fd[1]);
        } else {
            rc = spin(&w->answer, i);
        }
        ns[i - 1] = now_ns() - begun;
    }
    return rc;
}

int bind_to_core(int core)
{
    cpu_set_t set;
    if (core < 0) {
        return 0;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

int ping_pong(bool sleeping, int other_core, uint64_t *ns, size_t count)
{
    struct words *w =
        mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED) {
        return -errno;
    }
    int rc = 0;
    int fd[2] = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    pid_t child = fd[0] < 0 || fd[1] < 0 ? -1 : fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(bind_to_core(other_core) != 0 || answer_all(w, fd, sleeping, count) != 0);
    }
    if (child < 0) {
        rc = -errno;
    } else {
        rc = ask_all(w, fd, sleeping, ns, count);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    for (int i = 0; i < 2; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
    munmap(w, sizeof *w);
    return rc;
}
