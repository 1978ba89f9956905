// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files of the store, their hashes, and room for them.
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int pk_write_atomic(struct packages *p, const char *path, const char *temporary, const char *text,
                    size_t bytes)
{
    int rc = file_replace(path, temporary, text, bytes, 0644, true);
    return rc ? pk_fail(p, rc, "%s: cannot be written: %s", path, strerror(-rc)) : 0;
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
