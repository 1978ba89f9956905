// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A copy of a local file that goes on where it was broken off: what is there is held against the
// source, byte for byte, and what differs is written.
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct copy {
    struct packages *p;
    const char *place;
    int from, to;
    uint64_t size, had; // of the source; of the part when we began
    uint8_t *in, *old;
    mbedtls_sha256_context sha;
};

static ssize_t read_at(int fd, void *out, size_t bytes, uint64_t at)
{
    ssize_t n;
    do {
        n = pread(fd, out, bytes, (off_t)at);
    } while (n < 0 && errno == EINTR);
    return n;
}

// Are these bytes there already?
static bool is_there(const struct copy *c, size_t bytes, uint64_t at)
{
    return at + bytes <= c->had && read_at(c->to, c->old, bytes, at) == (ssize_t)bytes &&
           memcmp(c->in, c->old, bytes) == 0;
}

static int copy_bytes(struct copy *c)
{
    for (uint64_t at = 0; at < c->size;) {
        uint64_t left = c->size - at;
        ssize_t n = read_at(c->from, c->in, left < CHUNK_BYTES ? left : CHUNK_BYTES, at);
        if (n <= 0) {
            return n < 0 ? -errno : -ESTALE;
        }
        size_t bytes = (size_t)n;
        if (!is_there(c, bytes, at)) {
            if (lseek(c->to, (off_t)at, SEEK_SET) < 0) {
                return -errno;
            }
            int rc = file_write_all(c->to, c->in, bytes);
            if (rc) {
                return rc;
            }
        }
        if (mbedtls_sha256_update_ret(&c->sha, c->in, bytes)) {
            return -EIO;
        }
        at += bytes;
        if (c->p->progress.show) {
            c->p->progress.show(c->p->progress.context, "copying", at, c->size);
        }
    }
    return 0;
}

static int run(struct copy *c, struct obtained *out)
{
    struct stat before, after, had;
    uint8_t hash[32];
    if (fstat(c->from, &before) != 0 || fstat(c->to, &had) != 0) {
        return -errno;
    }
    c->size = (uint64_t)before.st_size;
    c->had = (uint64_t)had.st_size;
    out->resumed = c->had > 0;
    if (c->had) {
        pk_say(c->p, "Going on after %llu MB of an earlier run",
               (unsigned long long)(c->had >> 20));
    }
    // The file system shares the blocks where it can.
    if (c->had == 0 && ioctl(c->to, FICLONE, c->from) == 0) {
        c->had = c->size;
    }
    uint64_t room = pk_padded(c->size);
    if (room > c->had && pk_check_room(c->p, room - c->had, c->place) != 0) {
        return -EALREADY;
    }
    int rc = mbedtls_sha256_starts_ret(&c->sha, 0) ? -EIO : copy_bytes(c);
    if (!rc && (ftruncate(c->to, (off_t)c->size) != 0 || fstat(c->from, &after) != 0)) {
        rc = -errno;
    }
    if (!rc &&
        (after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
         after.st_mtim.tv_nsec != before.st_mtim.tv_nsec || after.st_size != before.st_size)) {
        rc = -ESTALE;
    }
    if (!rc && mbedtls_sha256_finish_ret(&c->sha, hash)) {
        rc = -EIO;
    }
    if (!rc) {
        hex_write(hash, sizeof hash, out->sha256);
        out->bytes = c->size;
    }
    return rc;
}

int pk_copy(struct packages *p, const struct origin *o, struct partial *part, struct obtained *out)
{
    struct copy c = {.p = p, .place = o->place, .from = -1, .to = -1};
    *out = (struct obtained){0};
    c.in = malloc(CHUNK_BYTES);
    c.old = malloc(CHUNK_BYTES);
    mbedtls_sha256_init(&c.sha);
    (void)chmod(part->part, 0600); // one that was about to become a blob is read-only
    c.from = open(o->place, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = !c.in || !c.old ? -ENOMEM : c.from < 0 ? -errno : 0;
    if (!rc) {
        c.to = open(part->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        rc = c.to < 0 ? -errno : run(&c, out);
    }
    if (rc == -EALREADY) {
        rc = -ENOSPC; // told already
    } else if (rc) {
        pk_fail(p, rc, "%s: cannot be copied to %s: %s", o->place, part->part,
                rc == -ESTALE ? "it was changed meanwhile; try again when it is whole"
                              : strerror(-rc));
    }
    mbedtls_sha256_free(&c.sha);
    free(c.in);
    free(c.old);
    if (c.from >= 0) {
        close(c.from);
    }
    if (c.to >= 0) {
        close(c.to);
    }
    return rc;
}
