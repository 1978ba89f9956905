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
long posix_clone(unsigned long flags, uint64_t stack, int *parent_tid, uint32_t *child_tid,
                 uint64_t tls, void *fn);
long posix_arch_prctl(int code, uint64_t address);
long posix_set_tid_address(uint32_t *address);
long posix_exit(void);
long posix_prctl(int option, uint64_t a);
long posix_getaffinity(int tid, size_t bytes, uint8_t *mask);
long posix_setaffinity(int tid, size_t bytes, const uint8_t *mask);
long posix_tkill(int tid, int signal);
// futex.c
long posix_futex(uint32_t *address, int op, uint32_t value, uint64_t fourth, uint32_t *second,
                 uint32_t third_value);
// memory.c
long posix_mmap(uint64_t address, size_t bytes, int prot, int flags, int fd, uint64_t offset);
long posix_munmap(uint64_t address, size_t bytes);
long posix_mprotect(uint64_t address, size_t bytes, int prot);
long posix_mremap(uint64_t address, size_t old_bytes, size_t bytes, int flags, uint64_t to);
long posix_madvise(uint64_t address, size_t bytes, int advice);
long posix_brk(uint64_t to);
// file.c
struct stat;
struct iovec;
long posix_open(const char *path, int flags);
long posix_close(int fd);
long posix_read(int fd, void *to, size_t bytes);
long posix_pread(int fd, void *to, size_t bytes, uint64_t offset);
long posix_readv(int fd, const struct iovec *v, int count);
long posix_write(int fd, const void *from, size_t bytes);
long posix_writev(int fd, const struct iovec *v, int count);
long posix_lseek(int fd, int64_t offset, int whence);
long posix_fstat(int fd, struct stat *out);
long posix_stat(const char *path, struct stat *out);
long posix_access(const char *path, int mode);
long posix_ioctl(int fd, unsigned long request, void *arg);
long posix_fcntl(int fd, int command, long arg);
// The bytes of an open file, for mmap.
int posix_file_bytes(int fd, const void **data, size_t *bytes);
// time.c
struct timespec;
struct timeval;
long posix_clock_gettime(int clock, struct timespec *out);
long posix_clock_getres(int clock, struct timespec *out);
long posix_nanosleep(int clock, int flags, const struct timespec *request);
long posix_gettimeofday(struct timeval *out);
// Absolute deadline (pf_now_ns scale, never 0) of a time-out; -EINVAL on a malformed one.
int posix_deadline(const struct timespec *t, int absolute, int realtime, uint64_t *deadline);
// info.c
struct utsname;
struct sysinfo;
struct rlimit;
long posix_uname(struct utsname *out);
long posix_sysinfo(struct sysinfo *out);
long posix_prlimit(int pid, int resource, const struct rlimit *set, struct rlimit *get);
long posix_getrandom(void *out, size_t bytes);
// names.c: "openat"; NULL if it has none here
const char *posix_call_name(unsigned long number);

#endif
