// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A file of weights that a guest can map: whole pages of 2 MB, or a power of two. A copy is made
// once, under a lock, and appears when it is whole.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char copying[] = "copying the model to whole pages";

struct copy {
    const struct weights_file *from;
    const struct weights_progress *progress;
    const struct weights_reader *reader; // NULL: nobody else
    char path[PATH_MAX], part[PATH_MAX];
    uint64_t bytes; // of the copy
    uint64_t takes; // on the disk: what follows the content's pages is a hole
    const char *suffix;
    uint8_t sha256[32];
    char *error;
    size_t error_bytes;
};

#define FAIL(c, rc, ...) error_say((c)->error, (c)->error_bytes, rc, __VA_ARGS__)

static int name_copy(struct copy *c)
{
    char folder[PATH_MAX], hex[65];
    int rc = weights_cache_folder("models", folder, sizeof folder, c->error, c->error_bytes);
    if (rc) {
        return rc;
    }
    hex_write(c->sha256, sizeof c->sha256, hex);
    int n = snprintf(c->path, sizeof c->path, "%s/%s%s.gguf", folder, hex, c->suffix);
    // A fixed name: what a killed run left behind, the next one writes over.
    int m = snprintf(c->part, sizeof c->part, "%s/%s%s.part", folder, hex, c->suffix);
    if (n < 0 || m < 0 || n >= PATH_MAX || m >= PATH_MAX) {
        return FAIL(c, -ENAMETOOLONG, "the cache folder's name is too long");
    }
    return 0;
}

// Is there a whole copy? One that somebody wrote to has another hash and is made again.
static bool copy_exists(const struct copy *c)
{
    struct weights_file f;
    char error[256];
    uint8_t found[32];
    if (access(c->path, R_OK) != 0 || weights_file_open(c->path, &f, error, sizeof error) != 0) {
        return false;
    }
    bool good = (uint64_t)f.status.st_size == c->bytes && f.content == c->from->content &&
                weights_content_hash(&f, c->progress, found, error, sizeof error) == 0 &&
                memcmp(found, c->sha256, sizeof found) == 0;
    weights_file_close(&f);
    return good;
}

static int check_room(struct copy *c)
{
    struct statvfs room;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", c->part);
    *strrchr(folder, '/') = 0;
    if (statvfs(folder, &room) != 0) {
        return 0; // the writing will tell
    }
    uint64_t have = (uint64_t)room.f_bavail * room.f_frsize;
    if (have < c->takes) {
        return FAIL(
            c, -ENOSPC,
            "%s holds %llu MB and a copy in whole pages takes %llu MB, but %s has only %llu "
            "MB free (XDG_CACHE_HOME names another place; `tessera pack` makes a file that "
            "needs no copy)",
            c->from->path, (unsigned long long)(c->from->content >> 20),
            (unsigned long long)(c->takes >> 20), folder, (unsigned long long)(have >> 20));
    }
    return 0;
}

static int copy_bytes(const struct copy *c, int to)
{
    uint8_t *buffer = malloc(STORE_CHUNK);
    int rc = buffer ? 0 : -ENOMEM;
    for (uint64_t at = 0; at < c->from->content && !rc;) {
        uint64_t left = c->from->content - at;
        ssize_t n = pread(c->from->fd, buffer, left < STORE_CHUNK ? left : STORE_CHUNK, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        rc = n < 0 ? -errno : n == 0 ? -ESTALE : file_write_all(to, buffer, (size_t)n);
        at += n > 0 ? (uint64_t)n : 0;
        store_show(c->progress, copying, at, c->from->content);
    }
    free(buffer);
    return rc;
}

// A copy for a reader must not be everybody's: the file itself may be nobody's but its owner's.
static int give(const struct copy *c, int fd)
{
    return c->reader ? fchown(fd, (uid_t)-1, c->reader->group) || fchmod(fd, 0440)
                     : fchmod(fd, 0444);
}

static int write_part(struct copy *c)
{
    int to = open(c->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) {
        return FAIL(c, -errno, "%s: %s", c->part, strerror(errno));
    }
    int rc = 0;
    // The file system shares the blocks where it can.
    if (ioctl(to, FICLONE, c->from->fd) != 0) {
        rc = check_room(c);
        if (rc) {
            goto out;
        }
        rc = copy_bytes(c, to);
    }
    // Cut and filled up again: what stood after the content becomes zeros.
    if (!rc && (ftruncate(to, (off_t)c->from->content) != 0 ||
                ftruncate(to, (off_t)c->bytes) != 0 || give(c, to) != 0 || fsync(to) != 0)) {
        rc = -errno;
    }
    if (rc) {
        FAIL(c, rc, "%s: the copy cannot be written: %s", c->part, strerror(-rc));
    } else {
        rc = weights_file_unchanged(c->from, c->error, c->error_bytes);
    }
out:
    close(to);
    if (rc) {
        unlink(c->part);
    }
    return rc;
}

static int make_copy(struct copy *c)
{
    int rc = write_part(c);
    if (rc) {
        return rc;
    }
    if (rename(c->part, c->path) != 0) {
        rc = FAIL(c, -errno, "%s: %s", c->path, strerror(errno));
        unlink(c->part);
        return rc;
    }
    // Some file systems cannot; the copy is whole all the same, or made again after a power cut.
    (void)file_sync_folder(c->path);
    weights_remember(c->path, c->sha256);
    return 0;
}

// A copy of before may be another reader's.
static int give_again(struct copy *c)
{
    struct stat now;
    int fd = c->reader ? open(c->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    int rc = 0;
    if (fd >= 0 && fstat(fd, &now) == 0 && now.st_gid != c->reader->group &&
        (give(c, fd) != 0 || fstat(fd, &now) != 0)) {
        rc = FAIL(c, -errno, "%s cannot be given to group %u: %s", c->path, c->reader->group,
                  strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int find_or_make(struct copy *c)
{
    int rc = weights_content_hash(c->from, c->progress, c->sha256, c->error, c->error_bytes);
    if (!rc) {
        rc = name_copy(c);
    }
    if (rc) {
        return rc;
    }
    int lock = copy_lock(c->path, true, c->error, c->error_bytes);
    bool there = copy_exists(c);
    if (lock < 0 && !there) {
        return lock;
    }
    rc = there ? give_again(c) : make_copy(c);
    if (!rc) {
        copy_note_source(c->path, c->from->path);
    }
    if (lock >= 0) {
        close(lock);
    }
    return rc;
}

static uint64_t whole_pages(uint64_t bytes)
{
    uint64_t pages = bytes / WEIGHTS_MULTIPLE + (bytes % WEIGHTS_MULTIPLE != 0);
    return pages * WEIGHTS_MULTIPLE;
}

static bool is_power(uint64_t bytes)
{
    return bytes && !(bytes & (bytes - 1));
}

int weights_mappable_for(const char *path, bool power, const struct weights_reader *reader,
                         const struct weights_progress *progress, char **out_path,
                         uint64_t *out_bytes, char *error, size_t error_bytes)
{
    struct weights_file f;
    int rc = weights_file_open(path, &f, error, error_bytes);
    if (rc) {
        return rc;
    }
    uint64_t size = (uint64_t)f.status.st_size;
    if (size && size % WEIGHTS_MULTIPLE == 0 && (!power || is_power(size)) &&
        !(reader && reader->cannot)) {
        *out_path = strdup(f.path);
        *out_bytes = size;
    } else {
        struct copy c = {.from = &f,
                         .progress = progress,
                         .reader = reader,
                         .bytes = whole_pages(f.content),
                         .takes = whole_pages(f.content),
                         .suffix = "",
                         .error = error,
                         .error_bytes = error_bytes};
        if (power && !is_power(c.bytes)) {
            c.suffix = "-power";
            for (c.bytes = WEIGHTS_MULTIPLE; c.bytes < f.content;) {
                c.bytes *= 2;
            }
        }
        rc = find_or_make(&c);
        if (!rc) {
            *out_path = strdup(c.path);
            *out_bytes = c.bytes;
        }
    }
    if (!rc && !*out_path) {
        rc = error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    weights_file_close(&f);
    return rc;
}

int weights_mappable(const char *path, const struct weights_progress *progress, char **out_path,
                     uint64_t *out_bytes, char *error, size_t error_bytes)
{
    return weights_mappable_for(path, false, NULL, progress, out_path, out_bytes, error,
                                error_bytes);
}

int weights_mappable_power(const char *path, const struct weights_progress *progress,
                           char **out_path, uint64_t *out_bytes, char *error, size_t error_bytes)
{
    return weights_mappable_for(path, true, NULL, progress, out_path, out_bytes, error,
                                error_bytes);
}
