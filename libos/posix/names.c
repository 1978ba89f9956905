// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Names of system calls that a C library may make and the libos does not answer, for the log.
#include "libos/posix/internal.h"

#include <stddef.h>
#include <sys/syscall.h>

#define NAME(x)                                                                                    \
    {                                                                                              \
        SYS_##x, #x                                                                                \
    }
static const struct {
    unsigned short number;
    char name[22];
} names[] = {
    NAME(poll),
    NAME(select),
    NAME(pwrite64),
    NAME(pwritev),
    NAME(preadv),
    NAME(pipe),
    NAME(pipe2),
    NAME(dup),
    NAME(dup2),
    NAME(dup3),
    NAME(pause),
    NAME(alarm),
    NAME(sendfile),
    NAME(socket),
    NAME(connect),
    NAME(accept),
    NAME(accept4),
    NAME(sendto),
    NAME(recvfrom),
    NAME(sendmsg),
    NAME(recvmsg),
    NAME(bind),
    NAME(listen),
    NAME(getsockname),
    NAME(getpeername),
    NAME(setsockopt),
    NAME(getsockopt),
    NAME(fork),
    NAME(vfork),
    NAME(execve),
    NAME(wait4),
    NAME(kill),
    NAME(fsync),
    NAME(fdatasync),
    NAME(truncate),
    NAME(ftruncate),
    NAME(getdents64),
    NAME(chdir),
    NAME(rename),
    NAME(mkdir),
    NAME(rmdir),
    NAME(creat),
    NAME(link),
    NAME(unlink),
    NAME(symlink),
    NAME(readlink),
    NAME(chmod),
    NAME(umask),
    NAME(getrusage),
    NAME(times),
    NAME(setuid),
    NAME(statfs),
    NAME(fstatfs),
    NAME(mlock),
    NAME(munlock),
    NAME(mlockall),
    NAME(epoll_create1),
    NAME(epoll_wait),
    NAME(epoll_ctl),
    NAME(timer_create),
    NAME(mkdirat),
    NAME(unlinkat),
    NAME(renameat),
    NAME(readlinkat),
    NAME(ppoll),
    NAME(pselect6),
    NAME(utimensat),
    NAME(eventfd2),
    NAME(timerfd_create),
    NAME(signalfd4),
    NAME(inotify_init1),
    NAME(statx),
    NAME(msync),
    NAME(mincore),
    NAME(clone3),
    NAME(rt_sigsuspend),
    NAME(rt_sigtimedwait),
    NAME(rt_sigpending),
    NAME(getitimer),
    NAME(setitimer),
    NAME(flock),
    NAME(shmget),
    NAME(memfd_create),
    NAME(copy_file_range),
    NAME(rseq),
    NAME(sched_setscheduler),
    NAME(sched_getparam),
    NAME(setpriority),
    NAME(getpriority),
    NAME(setrlimit),
    NAME(restart_syscall),
};

const char *posix_call_name(unsigned long number)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].number == number) {
            return names[i].name;
        }
    }
    return NULL;
}
