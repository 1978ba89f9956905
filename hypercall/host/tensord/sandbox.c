// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the worker may still ask the kernel for, once it has what it needs: memory, threads, and the
// descriptors it was given. It opens no file, makes no socket, starts no program (seccomp(2)).
#include "hypercall/host/tensord/worker.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>

static const int allowed[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(brk),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(eventfd2),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
    SCMP_SYS(getrandom),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(lseek),
    SCMP_SYS(madvise),
    SCMP_SYS(membarrier),
    SCMP_SYS(mmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(nanosleep),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(read),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sysinfo),
    SCMP_SYS(tgkill),
    SCMP_SYS(uname),
    SCMP_SYS(write),
    SCMP_SYS(writev),
};

// What only an intruder would try ends the worker; the holder starts another one.
static const int deadly[] = {
    SCMP_SYS(bind),
    SCMP_SYS(bpf),
    SCMP_SYS(connect),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(init_module),
    SCMP_SYS(kill),
    SCMP_SYS(mount),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(setuid),
    SCMP_SYS(socket),
    SCMP_SYS(unshare),
    SCMP_SYS(vfork),
};

// What a GPU's driver does with the devices that it has opened already. That no more is needed was
// never seen on hardware; a call that is refused fails the step, and the cores go on.
static const int for_drivers[] = {
    SCMP_SYS(ioctl),
    SCMP_SYS(mlock),
    SCMP_SYS(munlock),
};

static int fill(scmp_filter_ctx c, bool driver)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof allowed / sizeof *allowed; i++) {
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    for (size_t i = 0; driver && !rc && i < sizeof for_drivers / sizeof *for_drivers; i++) {
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, for_drivers[i], 0);
    }
    for (size_t i = 0; !rc && i < sizeof deadly / sizeof *deadly; i++) {
        rc = seccomp_rule_add(c, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    }
    // Threads, not processes; the C library falls back from clone3, whose flags cannot be seen.
    if (!rc) {
        rc = seccomp_rule_add(c, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    if (!rc) {
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    }
    return rc;
}

int sandbox_enter(bool driver, char *error, size_t error_bytes)
{
    scmp_filter_ctx c = NULL;
    int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
    if (!rc) {
        c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        rc = c ? fill(c, driver) : -ENOMEM;
    }
    if (!rc) {
        rc = seccomp_load(c);
    }
    if (c) {
        seccomp_release(c);
    }
    if (rc) {
        snprintf(error, error_bytes, "seccomp: %s", strerror(-rc));
    }
    return rc;
}
