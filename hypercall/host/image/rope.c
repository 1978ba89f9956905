// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A file to be, put together of pieces, so that a model of gigabytes is copied once, at the end.
#include "hypercall/host/image/private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP = 1 << 20, HOLE = 4096 };

static void add(struct rope *r, struct rope_piece p)
{
    if (p.bytes > 0) {
        assert(r->count < ROPE_PIECES); // each use has a fixed number of pieces
        r->pieces[r->count++] = p;
        r->bytes += p.bytes;
    }
}

void rope_memory(struct rope *r, const void *data, uint64_t bytes)
{
    add(r, (struct rope_piece){.memory = data, .fd = -1, .bytes = bytes});
}

void rope_file(struct rope *r, int fd, uint64_t at, uint64_t bytes)
{
    add(r, (struct rope_piece){.fd = fd, .at = at, .bytes = bytes});
}

void rope_zeros(struct rope *r, uint64_t bytes)
{
    add(r, (struct rope_piece){.fd = -1, .bytes = bytes});
}

void rope_pad(struct rope *r, uint64_t multiple)
{
    rope_zeros(r, round_up(r->bytes, multiple) - r->bytes);
}

void rope_add(struct rope *r, const struct rope *other)
{
    for (size_t i = 0; i < other->count; i++) {
        add(r, other->pieces[i]);
    }
}

void *keep_new(struct keep *k, size_t bytes)
{
    assert(k->count < sizeof k->blocks / sizeof *k->blocks);
    void *block = calloc(1, bytes);
    if (block != NULL) {
        k->blocks[k->count++] = block;
    }
    return block;
}

void keep_free(struct keep *k)
{
    while (k->count > 0) {
        free(k->blocks[--k->count]);
    }
}

static int walk(const struct rope *r, int (*take)(void *ctx, const uint8_t *data, size_t bytes),
                void *ctx)
{
    uint8_t *step = malloc(STEP);
    int rc = step == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < r->count && rc == 0; i++) {
        const struct rope_piece *p = &r->pieces[i];
        for (uint64_t at = 0; at < p->bytes && rc == 0;) {
            size_t n = p->bytes - at < STEP ? (size_t)(p->bytes - at) : STEP;
            if (p->memory == NULL && p->fd < 0) {
                memset(step, 0, n);
            } else if (p->memory == NULL) {
                ssize_t got = pread(p->fd, step, n, (off_t)(p->at + at));
                if (got <= 0) {
                    rc = got == 0 ? -ESTALE : errno == EINTR ? 0 : -errno; // 0: it has shrunk
                    continue;
                }
                n = (size_t)got;
            }
            rc = take(ctx, p->memory ? (const uint8_t *)p->memory + at : step, n);
            at += n;
        }
    }
    free(step);
    return rc;
}

static int take_hash(void *ctx, const uint8_t *data, size_t bytes)
{
    return mbedtls_sha256_update_ret(ctx, data, bytes) ? -EIO : 0;
}

int rope_sha256(const struct rope *r, uint8_t hash[32])
{
    mbedtls_sha256_context sha;
    mbedtls_sha256_init(&sha);
    int rc = mbedtls_sha256_starts_ret(&sha, 0) ? -EIO : walk(r, take_hash, &sha);
    if (rc == 0 && mbedtls_sha256_finish_ret(&sha, hash) != 0) {
        rc = -EIO;
    }
    mbedtls_sha256_free(&sha);
    return rc;
}

struct writer {
    int fd;
    uint64_t at;
};

static int take_write(void *ctx, const uint8_t *data, size_t bytes)
{
    struct writer *w = ctx;
    while (bytes > 0) {
        // Whole blocks of zeros stay holes: a disk image is mostly that.
        size_t n = bytes < HOLE ? bytes : HOLE;
        bool zeros = data[0] == 0 && memcmp(data, data + 1, n - 1) == 0;
        for (size_t done = 0; done < n && !zeros;) {
            ssize_t put = pwrite(w->fd, data + done, n - done, (off_t)(w->at + done));
            if (put < 0 && errno != EINTR) {
                return -errno;
            }
            done += put > 0 ? (size_t)put : 0;
        }
        data += n;
        w->at += n;
        bytes -= n;
    }
    return 0;
}

int image_temporary(const char *beside, char *path, size_t path_bytes)
{
    int n = snprintf(path, path_bytes, "%s.XXXXXX", beside);
    if (n < 0 || (size_t)n >= path_bytes) {
        return -ENAMETOOLONG;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    close(fd);
    return 0;
}

int rope_write(const struct rope *r, const char *path)
{
    char part[4096];
    int rc = image_temporary(path, part, sizeof part);
    if (rc) {
        return rc;
    }
    struct writer w = {.fd = open(part, O_WRONLY | O_CLOEXEC)};
    rc = w.fd < 0 ? -errno : walk(r, take_write, &w);
    if (rc == 0 && (ftruncate(w.fd, (off_t)r->bytes) != 0 || fsync(w.fd) != 0)) {
        rc = -errno;
    }
    if (w.fd >= 0 && close(w.fd) != 0 && rc == 0) {
        rc = -errno;
    }
    if (rc == 0 && rename(part, path) != 0) {
        rc = -errno;
    }
    if (rc) {
        unlink(part);
    }
    return rc;
}
