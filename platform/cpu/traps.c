// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where exceptions arrive from the stubs, and which function `syscall` calls.
#include "platform/cpu/cpu.h"
#include "platform/crash/crash.h"
#include "platform/power.h"

long libos_syscall(long n, long a, long b, long c, long d, long e, long f) __attribute__((weak));
void pf_trap_exception(const struct pf_trap_frame *frame);

static long no_handler(long n, long a, long b, long c, long d, long e, long f)
{
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    pf_panic("system call %ld, but this image has nothing that answers system calls", n);
}

// Read by pf_syscall_entry. Written before the first `syscall` of any CPU.
long (*pf_syscall_target)(long, long, long, long, long, long, long) = no_handler;

void pf_syscall_init(void);
void pf_syscall_init(void)
{
    if (libos_syscall != NULL) {
        pf_syscall_target = libos_syscall;
    }
}

const char *pf_exception_name(uint64_t vector)
{
    static const char *const names[32] = {
        [0] = "division error",
        [1] = "debug exception",
        [2] = "non-maskable interrupt",
        [3] = "breakpoint",
        [4] = "overflow",
        [5] = "bound range exceeded",
        [6] = "invalid instruction",
        [7] = "device not available",
        [8] = "double fault",
        [10] = "invalid task state segment",
        [11] = "segment not present",
        [12] = "stack segment fault",
        [13] = "general protection fault",
        [14] = "page fault",
        [16] = "x87 floating-point error",
        [17] = "misaligned access",
        [18] = "machine check",
        [19] = "SIMD floating-point error",
        [20] = "virtualization exception",
        [21] = "control protection exception",
        [29] = "VMM communication exception",
        [30] = "security exception",
    };
    return vector < 32 && names[vector] != NULL ? names[vector] : "unknown exception";
}

void pf_trap_exception(const struct pf_trap_frame *frame)
{
    if (frame->vector == 2 && pf_crash_stop_asked(frame)) {
        for (;;) { // another CPU is reporting a crash
            __asm__ volatile("cli; hlt");
        }
    }
    pf_crash_trap(frame);
}
