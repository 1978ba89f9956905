// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Threads for musl: a thread is a strand.
#include "libos/posix/internal.h"

#include "libos/sched.h"
#include "libos/sched/internal.h"
#include "platform/power.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define PR_SET_NAME 15

#define THREAD_FLAGS                                                                               \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |            \
     CLONE_SETTLS)

// musl's clone leaves the thread function in r9, which is the sixth argument of the call, and its
// argument on top of the new stack (musl, src/thread/x86_64/clone.s); the child only pops and
// calls.
long call_clone(unsigned long flags, uint64_t stack, int *parent_tid, uint32_t *child_tid,
                uint64_t tls, void *fn)
{
    if ((flags & THREAD_FLAGS) != THREAD_FLAGS || !stack || !fn) {
        return -ENOSYS; // fork and its kin
    }
    struct strand *s;
    int e = sched_spawn(stack, fn, tls, flags & CLONE_CHILD_CLEARTID ? child_tid : NULL, &s);
    if (e != 0) {
        return e;
    }
    uint32_t id = s->id;
    if (flags & CLONE_PARENT_SETTID) {
        *parent_tid = (int)id;
    }
    sched_ready(s);
    return (long)id;
}

long call_arch_prctl(int code, uint64_t address)
{
    if (code == ARCH_SET_FS) {
        strand_self()->fs = address;
        sched_set_fs(address);
        return 0;
    }
    if (code == ARCH_GET_FS) {
        *(uint64_t *)address = strand_self()->fs;
        return 0;
    }
    return -EINVAL;
}

long call_set_tid_address(uint32_t *address)
{
    struct strand *self = strand_self();
    if (address) {
        self->clear_tid = address;
    }
    return (long)self->id;
}

long call_exit(void)
{
    sched_exit();
}

long call_prctl(int option, uint64_t a)
{
    if (option == PR_SET_NAME) {
        strand_set_name((const char *)a);
        return 0;
    }
    return -EINVAL;
}

long call_getaffinity(int tid, size_t bytes, uint8_t *mask)
{
    uint32_t cpus = sched_cpu_count();
    (void)tid; // every strand may be moved to every CPU
    if (bytes < 8) {
        return -EINVAL;
    }
    memset(mask, 0, bytes < 128 ? bytes : 128);
    for (uint32_t i = 0; i < cpus; i++) {
        mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << (i % 8));
    }
    return 8;
}

// A strand may move itself: to the first CPU of the mask, if it is on none of them.
long call_setaffinity(int tid, size_t bytes, const uint8_t *mask)
{
    struct strand *self = strand_self();
    if (tid != 0 && tid != (int)self->id) {
        return -ESRCH;
    }
    uint32_t target = STRAND_ANY_CPU;
    for (uint32_t i = 0; i < sched_cpu_count() && i / 8 < bytes; i++) {
        if (mask[i / 8] >> (i % 8) & 1) {
            if (i == self->cpu) {
                return 0;
            }
            target = target == STRAND_ANY_CPU ? i : target;
        }
    }
    if (target == STRAND_ANY_CPU) {
        return -EINVAL;
    }
    sched_move(target);
    return 0;
}

long call_tkill(int tid, int signal)
{
    if (signal == 0) {
        return 0;
    }
    if (signal == SIGABRT && tid == (int)strand_self()->id) {
        pf_panic("abort() was called");
    }
    return -EINVAL;
}
