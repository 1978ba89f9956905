// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The system calls, by the file that answers them. All return a value >= 0 or a negative errno.
#ifndef LIBOS_POSIX_INTERNAL_H
#define LIBOS_POSIX_INTERNAL_H

#include "libos/posix.h"

#include <stddef.h>
#include <stdint.h>

// thread.c
long call_clone(unsigned long flags, uint64_t stack, int *parent_tid, uint32_t *child_tid,
                uint64_t tls, void *fn);
long call_arch_prctl(int code, uint64_t address);
long call_set_tid_address(uint32_t *address);
long call_exit(void);
long call_prctl(int option, uint64_t a);
long call_getaffinity(int tid, size_t bytes, uint8_t *mask);
long call_setaffinity(int tid, size_t bytes, const uint8_t *mask);
long call_tkill(int tid, int signal);
// futex.c
long call_futex(uint32_t *address, int op, uint32_t value, uint64_t fourth, uint32_t *second,
                uint32_t third_value);
// memory.c
long call_mmap(uint64_t address, size_t bytes, int prot, int flags, int fd, uint64_t offset);
long call_munmap(uint64_t address, size_t bytes);
long call_mprotect(uint64_t address, size_t bytes, int prot);
long call_mremap(uint64_t address, size_t old_bytes, size_t bytes, int flags, uint64_t to);
long call_madvise(uint64_t address, size_t bytes, int advice);
long call_brk(uint64_t to);
// file.c
struct stat;
struct iovec;
long call_open(const char *path, int flags);
long call_close(int fd);
long call_read(int fd, void *to, size_t bytes);
long call_pread(int fd, void *to, size_t bytes, uint64_t offset);
long call_readv(int fd, const struct iovec *v, int count);
long call_write(int fd, const void *from, size_t bytes);
long call_writev(int fd, const struct iovec *v, int count);
long call_lseek(int fd, int64_t offset, int whence);
long call_fstat(int fd, struct stat *out);
long call_stat(const char *path, struct stat *out);
long call_access(const char *path, int mode);
long call_ioctl(int fd, unsigned long request, void *arg);
long call_fcntl(int fd, int command, long arg);
// The bytes of an open file, for mmap.
int posix_file_bytes(int fd, const void **data, size_t *bytes);
// time.c
struct timespec;
struct timeval;
long call_clock_gettime(int clock, struct timespec *out);
long call_clock_getres(int clock, struct timespec *out);
long call_nanosleep(int clock, int flags, const struct timespec *request);
long call_gettimeofday(struct timeval *out);
// Absolute deadline (pf_now_ns scale, never 0) of a time-out; -EINVAL on a malformed one.
int posix_deadline(const struct timespec *t, int absolute, int realtime, uint64_t *deadline);
// info.c
struct utsname;
struct sysinfo;
struct rlimit;
long call_uname(struct utsname *out);
long call_sysinfo(struct sysinfo *out);
long call_prlimit(int pid, int resource, const struct rlimit *set, struct rlimit *get);
long call_getrandom(void *out, size_t bytes);
// names.c: "openat"; NULL if it has none here
const char *posix_call_name(unsigned long number);

#endif
