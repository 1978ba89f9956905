// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files, random bytes, and what is refused.
#include "apps/selftest/selftest.h"

#include "libos/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *test_files(void)
{
    CHECK(open("/no/such/file", O_RDONLY) < 0 && errno == ENOENT);
    CHECK(open("/new", O_WRONLY | O_CREAT, 0666) < 0 && errno == EROFS);
    int fd = open("/dev/null", O_RDWR);
    char byte;
    CHECK(fd >= 3 && write(fd, "x", 1) == 1 && read(fd, &byte, 1) == 0 && close(fd) == 0);
    CHECK(close(fd) < 0 && errno == EBADF);
    CHECK(isatty(1));
    struct stat st;
    CHECK(fstat(1, &st) == 0 && S_ISCHR(st.st_mode));
    return NULL;
}

// Each file that came with the boot: by read, seek, stdio and mmap.
static const char *test_boot_files(void)
{
    for (size_t i = 0; i < boot_file_count(); i++) {
        const struct boot_file *b = boot_file_at(i);
        char path[160];
        snprintf(path, sizeof path, "/%s", b->name);
        struct stat st;
        CHECK(stat(path, &st) == 0 && (size_t)st.st_size == b->bytes);
        int fd = open(path, O_RDONLY);
        CHECK(fd >= 0);
        char buf[100];
        ssize_t n = read(fd, buf, sizeof buf);
        CHECK(n >= 0 && memcmp(buf, b->data, (size_t)n) == 0);
        CHECK(lseek(fd, 0, SEEK_END) == (off_t)b->bytes && read(fd, buf, 1) == 0);
        CHECK(lseek(fd, -1, SEEK_SET) < 0 && errno == EINVAL);
        if (b->bytes > 0) {
            void *p = mmap(NULL, b->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
            CHECK(p != MAP_FAILED && memcmp(p, b->data, b->bytes) == 0);
            CHECK(munmap(p, b->bytes) == 0);
        }
        close(fd);
        FILE *f = fopen(path, "r");
        CHECK(f && fread(buf, 1, 10, f) == (b->bytes < 10 ? b->bytes : 10));
        fclose(f);
        CHECK(open(path, O_RDWR) < 0 && errno == EROFS);
        printf("file %s: %zu bytes\n", b->name, b->bytes);
    }
    return NULL;
}

static const char *test_random(void)
{
    uint8_t a[64] = {0}, b[64] = {0};
    CHECK(getrandom(a, sizeof a, 0) == 64 && getrandom(b, sizeof b, 0) == 64);
    CHECK(memcmp(a, b, 64) != 0);
    unsigned ones = 0;
    static uint8_t many[4096];
    CHECK(getrandom(many, sizeof many, 0) == sizeof many);
    for (size_t i = 0; i < sizeof many; i++) {
        ones += (unsigned)__builtin_popcount(many[i]);
    }
    CHECK(ones > 16384 - 700 && ones < 16384 + 700); // 8 sigma
    return NULL;
}

static const char *test_refused(void)
{
    struct utsname u;
    CHECK(uname(&u) == 0 && strcmp(u.sysname, "Tessera") == 0);
    CHECK(fork() < 0 && errno == ENOSYS);
    CHECK(mkdir("/x", 0777) < 0 && errno == ENOSYS);
    CHECK(getpid() == 1 && sysconf(_SC_PAGESIZE) == 4096);
    return NULL;
}

const struct selftest file_tests[] = {
    {"files", test_files},
    {"boot-files", test_boot_files},
    {"random", test_random},
    {"refused", test_refused},
    {NULL, NULL},
};
