// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The Linux system calls that musl makes, answered in the guest (number and arguments as on Linux
// x86-64, a negative errno on failure). What is not answered is -ENOSYS, logged once a number.
#ifndef LIBOS_POSIX_H
#define LIBOS_POSIX_H

#include <stdint.h>

// Called by the platform's syscall entry, on the caller's stack.
long libos_syscall(long number, long a, long b, long c, long d, long e, long f);

// Starts libc on the current stack: its initialisation, constructors, then exit(run(argc, argv)).
_Noreturn void posix_start(int (*run)(int argc, char **argv, char **envp), const char *program);
// munmap from the kernel side.
void posix_unmap(uint64_t base, uint64_t bytes);

#endif
