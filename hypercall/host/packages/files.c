// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files that are whole or absent, their hashes, and room for them.
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int pk_read_file(const char *path, size_t most, char **out, size_t *bytes)
{
    struct stat s;
    // O_NONBLOCK: a pipe or device must not hang the opening; files do not know it.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &s) != 0) {
        int rc = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    size_t room = (size_t)s.st_size + 1, used = 0;
    int rc = !S_ISREG(s.st_mode) ? -EINVAL : (uint64_t)s.st_size > most ? -EFBIG : 0;
    char *text = rc ? NULL : malloc(room);
    rc = rc ? rc : text ? 0 : -ENOMEM;
    while (!rc && used + 1 < room) {
        ssize_t n = read(fd, text + used, room - 1 - used);
        if (n < 0 && errno != EINTR) {
            rc = -errno;
        } else if (n == 0) {
            break;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (rc) {
        free(text);
        return rc;
    }
    text[used] = 0;
    *out = text;
    *bytes = used;
    return 0;
}

int pk_write_all(int fd, const void *data, size_t bytes)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = write(fd, from, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        from += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int pk_sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = 0;
    }
    int fd = open(slash && slash != folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

int pk_write_atomic(struct packages *p, const char *path, const char *temporary, const char *text,
                    size_t bytes)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return pk_fail(p, -errno, "%s: cannot be written: %s", temporary, strerror(errno));
    }
    int rc = pk_write_all(fd, text, bytes);
    if (!rc && (fchmod(fd, 0644) != 0 || fsync(fd) != 0)) {
        rc = -errno;
    }
    if (close(fd) != 0 && !rc) {
        rc = -errno;
    }
    if (!rc && rename(temporary, path) != 0) {
        rc = -errno;
    }
    if (rc) {
        unlink(temporary);
        return pk_fail(p, rc, "%s: cannot be written: %s", path, strerror(-rc));
    }
    // Some file systems cannot; the file is whole all the same.
    (void)pk_sync_folder_of(path);
    return 0;
}

struct showing {
    const struct packages *p;
    const char *what;
    uint64_t total;
};

static void show(void *context, uint64_t done)
{
    const struct showing *s = context;
    if (s->p->progress.show) {
        s->p->progress.show(s->p->progress.context, s->what, done, s->total);
    }
}

static bool is_as_before(int fd, const struct stat *before)
{
    struct stat now;
    return fstat(fd, &now) == 0 && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == before->st_mtim.tv_nsec && now.st_size == before->st_size;
}

int pk_hash_file(struct packages *p, const char *path, const char *what, char hex[65],
                 uint64_t *bytes)
{
    struct stat before;
    uint8_t hash[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 || fstat(fd, &before) != 0 ? -errno : S_ISREG(before.st_mode) ? 0 : -EINVAL;
    if (!rc) {
        struct showing s = {p, what, (uint64_t)before.st_size};
        rc = sha256_file(fd, s.total, show, &s, hash);
        rc = !rc && !is_as_before(fd, &before) ? -ESTALE : rc;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        return pk_fail(p, rc, "%s: %s", path,
                       rc == -ESTALE ? "was changed while it was read; try again when it is whole"
                                     : strerror(-rc));
    }
    *bytes = (uint64_t)before.st_size;
    hex_write(hash, sizeof hash, hex);
    return 0;
}

uint64_t pk_padded(uint64_t bytes)
{
    return (bytes + WEIGHTS_MULTIPLE - 1) / WEIGHTS_MULTIPLE * WEIGHTS_MULTIPLE;
}

int pk_check_room(struct packages *p, uint64_t bytes, const char *what)
{
    struct statvfs room;
    if (statvfs(p->root, &room) != 0) {
        return 0; // the writing will tell
    }
    uint64_t have = (uint64_t)room.f_bavail * room.f_frsize;
    if (have >= bytes) {
        return 0;
    }
    return pk_fail(p, -ENOSPC,
                   "%s takes %llu MB more and %s has only %llu MB free (`tessera pkg remove` and "
                   "`tessera pkg prune` make room, TESSERA_STORE names another place)",
                   what, (unsigned long long)((bytes + (1 << 20) - 1) >> 20), p->root,
                   (unsigned long long)(have >> 20));
}
