// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Locks between processes: one for the store's names and blobs, held for moments, and one a source,
// held while it is installed.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STORE_WAIT_S = 60, SOURCE_SILENT_S = 300, LOOK_US = 100000 };

static int open_lock(struct packages *p, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? pk_fail(p, -errno, "%s: %s", path, strerror(errno)) : fd;
}

static time_t now(void)
{
    return (time_t)(monotonic_ms() / 1000);
}

int pk_lock_store(struct packages *p)
{
    char path[PATH_MAX];
    int rc = pk_path(p, path, ".lock");
    int fd = rc ? rc : open_lock(p, path);
    if (fd < 0) {
        return fd;
    }
    for (time_t until = now() + STORE_WAIT_S; flock(fd, LOCK_EX | LOCK_NB) != 0;) {
        rc = errno == EINTR || errno == EWOULDBLOCK ? 0 : -errno;
        if (rc || now() >= until) {
            close(fd);
            return rc ? pk_fail(p, rc, "%s: cannot be locked: %s", path, strerror(-rc))
                      : pk_fail(p, -ETIMEDOUT,
                                "another tessera has held %s for %d s; `fuser %s` tells which",
                                path, STORE_WAIT_S, path);
        }
        usleep(LOOK_US);
    }
    return fd;
}

// Whatever the holder does, one of its files grows or changes.
static uint64_t trace_of(struct packages *p, const char *key)
{
    static const char *const ends[] = {"part", "note", "made.gguf", "made.gguf.part",
                                       "made.gguf.quant.part"};
    uint64_t trace = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char path[PATH_MAX];
        struct stat s;
        if (pk_path(p, path, "partial/%s.%s", key, ends[i]) == 0 && stat(path, &s) == 0) {
            trace =
                trace * 31 + (uint64_t)s.st_size + (uint64_t)s.st_mtim.tv_nsec + (uint64_t)s.st_ino;
        }
    }
    return trace;
}

// The file may have been removed by the last holder while we waited for it.
static bool is_current(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

int pk_lock_source(struct packages *p, const char *key, bool wait)
{
    char path[PATH_MAX];
    int rc = pk_path(p, path, "partial/%s.lock", key);
    int fd = rc ? rc : open_lock(p, path);
    uint64_t trace = trace_of(p, key);
    time_t moved = now();
    bool told = false;
    while (fd >= 0) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (is_current(fd, path)) {
                return fd;
            }
            close(fd);
            fd = open_lock(p, path);
            continue;
        }
        rc = errno == EINTR || errno == EWOULDBLOCK ? 0 : -errno;
        if (rc || !wait) {
            close(fd);
            return rc ? pk_fail(p, rc, "%s: cannot be locked: %s", path, strerror(-rc)) : -EAGAIN;
        }
        if (!told) {
            pk_say(p, "Another tessera is installing from there; waiting for it");
            told = true;
        }
        uint64_t found = trace_of(p, key);
        if (found != trace) {
            trace = found;
            moved = now();
        }
        if (now() - moved > SOURCE_SILENT_S) {
            close(fd);
            return pk_fail(p, -ETIMEDOUT,
                           "another tessera that installs from there has not moved for %d s; "
                           "`fuser %s` tells which",
                           SOURCE_SILENT_S, path);
        }
        usleep(LOOK_US);
    }
    return fd;
}

void pk_unlock_source(struct packages *p, const char *key, int fd)
{
    char path[PATH_MAX];
    // While it is held, so that nobody else's is removed.
    if (pk_path(p, path, "partial/%s.lock", key) == 0) {
        unlink(path);
    }
    close(fd);
}
