// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the worker may still do in its sandbox, what it may not, and what ends it.
//
// Links: hypercall/host/tensord/sandbox.c
// Libs: -lseccomp
#include "hypercall/host/tensord/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ENTERED_NOT = 100, PASSED_ON = 101 };

static bool with_driver;

// Runs `act` in a child, inside; the child's wait status. What it returns is its exit status.
static int inside(int (*act)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char error[200];
        _exit(sandbox_enter(with_driver, error, sizeof error) ? ENTERED_NOT : act());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

// Each of these is refused, and says so: the first that is not is the exit status.
static int refused(void)
{
    errno = 0;
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EPERM) {
        return 1;
    }
    errno = 0;
    if (open("/tmp/tensord-sandbox", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EPERM) {
        return 2;
    }
    errno = 0;
    if (unlink("/tmp/tensord-sandbox") == 0 || errno != EPERM) {
        return 3;
    }
    errno = 0;
    if (memfd_create("x", 0) >= 0 || errno != EPERM) {
        return 4;
    }
    errno = 0;
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) >= 0 || errno != EPERM) { // a process
        return 5;
    }
    errno = 0;
    if (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM) {
        return 6;
    }
    errno = 0;
    if (syscall(SYS_userfaultfd, 0) >= 0 || errno != EPERM) {
        return 7;
    }
    return 0;
}

static void *a_thread(void *arg)
{
    *(int *)arg = 17;
    return arg;
}

// What it needs goes on working.
static int allowed(void)
{
    pthread_t thread;
    int done = 0, event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    uint64_t one = 1;
    if (pthread_create(&thread, NULL, a_thread, &done) || pthread_join(thread, NULL) ||
        done != 17) {
        return 1;
    }
    char *block = malloc(64 << 20);
    if (!block) {
        return 2;
    }
    memset(block, 1, 64 << 20);
    free(block);
    void *m = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED || munmap(m, 1 << 20)) {
        return 3;
    }
    if (event < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &e) ||
        write(event, &one, sizeof one) != sizeof one || epoll_wait(epoll, &e, 1, 1000) != 1) {
        return 4;
    }
    return now_ns() ? 0 : 5;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int makes_a_socket(void)
{
    socket(AF_INET, SOCK_STREAM, 0);
    return PASSED_ON;
}
static int starts_a_program(void)
{
    static char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    execve("/bin/true", arguments, NULL);
    return PASSED_ON;
}
static int traces(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    return PASSED_ON;
}
static int kills(void)
{
    kill(getppid(), 0);
    return PASSED_ON;
}
static int connects(void)
{
    connect(0, NULL, 0);
    return PASSED_ON;
}

static void files_and_processes_are_refused(void **unused)
{
    (void)unused;
    int status = inside(refused);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

// With a driver, its calls to open devices as well; files stay as they were.
static int allowed_with_driver(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    char number[8];
    errno = 0;
    if (ioctl(fd, FIONREAD, number) == 0 || errno == EPERM) { // no such request, but it got there
        return 10;
    }
    return allowed() ? allowed() : refused();
}

static int refused_without_driver(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    char number[8];
    errno = 0;
    return ioctl(fd, FIONREAD, number) < 0 && errno == EPERM ? 0 : 1;
}

static void only_with_a_driver_devices_are_talked_to(void **unused)
{
    (void)unused;
    int without = inside(refused_without_driver);
    with_driver = true;
    int with = inside(allowed_with_driver);
    with_driver = false;
    assert_true(WIFEXITED(without) && WIFEXITED(with));
    assert_int_equal(WEXITSTATUS(without), 0);
    assert_int_equal(WEXITSTATUS(with), 0);
}

static void threads_memory_and_doorbells_work(void **unused)
{
    (void)unused;
    int status = inside(allowed);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_only_an_intruder_does_ends_it(void **unused)
{
    (void)unused;
    int (*const acts[])(void) = {makes_a_socket, starts_a_program, traces, kills, connects};
    for (unsigned i = 0; i < sizeof acts / sizeof *acts; i++) {
        int status = inside(acts[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
}

// The same outside: the test would notice a sandbox that is not there.
static void outside_it_is_not_refused(void **unused)
{
    (void)unused;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(refused() == 1 && makes_a_socket() == PASSED_ON ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(files_and_processes_are_refused),
        cmocka_unit_test(threads_memory_and_doorbells_work),
        cmocka_unit_test(only_with_a_driver_devices_are_talked_to),
        cmocka_unit_test(what_only_an_intruder_does_ends_it),
        cmocka_unit_test(outside_it_is_not_refused),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
