// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Dispatch of system calls. Runs on the caller's stack; interrupts stay as they are.
#include "libos/posix/internal.h"

#include "libos/app.h"
#include "libos/log.h"
#include "libos/sched.h"
#include "platform/power.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static long unknown(long number)
{
    static uint64_t seen[8]; // atomic bits: what has been logged
    if (number >= 0 && number < 512) {
        uint64_t bit = 1ull << (number % 64);
        if (!(__atomic_fetch_or(&seen[number / 64], bit, __ATOMIC_RELAXED) & bit)) {
            const char *name = posix_call_name((unsigned long)number);
            log_warn("posix", "system call %ld (%s) is not available here", number,
                     name ? name : "?");
        }
    }
    return -ENOSYS;
}

static _Noreturn void exit_group(int status)
{
    log_line(status ? LOG_ERROR : LOG_INFO, "posix", "exit with status %d", status);
    pf_exit(status);
}

#define P(x) ((void *)(x))

long libos_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
    // memory
    case SYS_mmap:
        return call_mmap((uint64_t)a, (size_t)b, (int)c, (int)d, (int)e, (uint64_t)f);
    case SYS_munmap:
        return call_munmap((uint64_t)a, (size_t)b);
    case SYS_mprotect:
        return call_mprotect((uint64_t)a, (size_t)b, (int)c);
    case SYS_mremap:
        return call_mremap((uint64_t)a, (size_t)b, (size_t)c, (int)d, (uint64_t)e);
    case SYS_madvise:
        return call_madvise((uint64_t)a, (size_t)b, (int)c);
    case SYS_brk:
        return call_brk((uint64_t)a);
    // threads
    case SYS_arch_prctl:
        return call_arch_prctl((int)a, (uint64_t)b);
    case SYS_set_tid_address:
        return call_set_tid_address(P(a));
    case SYS_clone:
        return call_clone((unsigned long)a, (uint64_t)b, P(c), P(d), (uint64_t)e, P(f));
    case SYS_exit:
        return call_exit();
    case SYS_exit_group:
        exit_group((int)a);
    case SYS_futex:
        return call_futex(P(a), (int)b, (uint32_t)c, (uint64_t)d, P(e), (uint32_t)f);
    case SYS_gettid:
        return call_set_tid_address(NULL);
    case SYS_getpid:
        return 1;
    case SYS_tkill:
        return call_tkill((int)a, (int)b);
    case SYS_tgkill:
        return call_tkill((int)b, (int)c);
    case SYS_sched_yield:
        strand_yield();
        return 0;
    case SYS_sched_getaffinity:
        return call_getaffinity((int)a, (size_t)b, P(c));
    case SYS_sched_setaffinity:
        return call_setaffinity((int)a, (size_t)b, P(c));
    case SYS_prctl:
        return call_prctl((int)a, (uint64_t)b);
    // Signals do not exist; that a mask or handler is set changes nothing.
    case SYS_rt_sigaction:
    case SYS_rt_sigprocmask:
    case SYS_sigaltstack:
    case SYS_set_robust_list:
        return 0;
    case SYS_membarrier: // a fence here, and one wherever strands switch
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return 0;
    // files
    case SYS_read:
        return call_read((int)a, P(b), (size_t)c);
    case SYS_pread64:
        return call_pread((int)a, P(b), (size_t)c, (uint64_t)d);
    case SYS_readv:
        return call_readv((int)a, P(b), (int)c);
    case SYS_write:
        return call_write((int)a, P(b), (size_t)c);
    case SYS_writev:
        return call_writev((int)a, P(b), (int)c);
    case SYS_open:
        return call_open(P(a), (int)b);
    case SYS_openat:
        return call_open(P(b), (int)c);
    case SYS_close:
        return call_close((int)a);
    case SYS_lseek:
        return call_lseek((int)a, b, (int)c);
    case SYS_fstat:
        return call_fstat((int)a, P(b));
    case SYS_stat:
    case SYS_lstat:
        return call_stat(P(a), P(b));
    case SYS_newfstatat:
        return b && *(const char *)b ? call_stat(P(b), P(c)) : call_fstat((int)a, P(c));
    case SYS_access:
        return call_access(P(a), (int)b);
    case SYS_faccessat:
        return call_access(P(b), (int)c);
    case SYS_ioctl:
        return call_ioctl((int)a, (unsigned long)b, P(c));
    case SYS_fcntl:
        return call_fcntl((int)a, (int)b, c);
    // time
    case SYS_clock_gettime:
        return call_clock_gettime((int)a, P(b));
    case SYS_clock_getres:
        return call_clock_getres((int)a, P(b));
    case SYS_nanosleep:
        return call_nanosleep(1, 0, P(a));
    case SYS_clock_nanosleep:
        return call_nanosleep((int)a, (int)b, P(c));
    case SYS_gettimeofday:
        return call_gettimeofday(P(a));
    // the rest
    case SYS_getrandom:
        return call_getrandom(P(a), (size_t)b);
    case SYS_uname:
        return call_uname(P(a));
    case SYS_sysinfo:
        return call_sysinfo(P(a));
    case SYS_prlimit64:
        return call_prlimit((int)a, (int)b, P(c), P(d));
    case SYS_getrlimit:
        return call_prlimit(0, (int)a, NULL, P(b));
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
        return 0;
    case SYS_getppid:
        return 0;
    case SYS_getcwd:
        if (b < 2) {
            return -ERANGE;
        }
        memcpy(P(a), "/", 2);
        return 2;
    default:
        return unknown(number);
    }
}
