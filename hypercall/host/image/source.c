// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading with bounds: a file or memory, a view of it in pieces, a part of a view.
#include "hypercall/host/base/error.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP = 1 << 20 };

int source_open(const char *path, struct image_source *s, char *error, size_t error_bytes)
{
    struct stat status;
    *s = (struct image_source){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (s->fd < 0 || fstat(s->fd, &status) != 0) {
        int rc = error_say(error, error_bytes, -errno, "%s: %s", path, strerror(errno));
        source_close(s);
        return rc;
    }
    if (!S_ISREG(status.st_mode)) {
        source_close(s);
        return error_say(error, error_bytes, -EINVAL, "%s: is no file%s", path,
                         S_ISDIR(status.st_mode) ? " but a folder" : "");
    }
    s->bytes = s->file_bytes = (uint64_t)status.st_size;
    return 0;
}

void source_close(struct image_source *s)
{
    if (s->fd >= 0) {
        close(s->fd);
    }
    s->fd = -1;
    free(s->qcow2);
    s->qcow2 = NULL;
}

int source_read_file(const struct image_source *s, uint64_t at, void *to, size_t bytes)
{
    if (s->fd < 0) {
        // Of a qcow2 in memory `bytes` is the disk's: fuzzers keep files below that.
        memcpy(to, s->memory + at, bytes);
        return 0;
    }
    uint8_t *out = to;
    while (bytes > 0) {
        ssize_t n = pread(s->fd, out, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -EIO : -EINVAL;
        }
        out += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int source_read(const struct image_source *s, uint64_t at, void *to, size_t bytes)
{
    if (at > s->bytes || bytes > s->bytes - at) {
        return -EINVAL;
    }
    return s->qcow2 ? qcow2_read(s, at, to, bytes) : source_read_file(s, at, to, bytes);
}

int view_read(const struct image_view *v, uint64_t at, void *to, size_t bytes)
{
    if (at > v->bytes || bytes > v->bytes - at) {
        return -EINVAL;
    }
    if (v->extents == NULL) {
        return source_read(v->source, v->first + at, to, bytes);
    }
    uint8_t *out = to;
    for (size_t i = 0; i < v->extent_count && bytes > 0; i++) {
        const struct image_extent *e = &v->extents[i];
        if (at >= e->bytes) {
            at -= e->bytes;
            continue;
        }
        size_t n = bytes < e->bytes - at ? bytes : (size_t)(e->bytes - at);
        int rc = source_read(v->source, e->at + at, out, n);
        if (rc) {
            return rc;
        }
        out += n;
        bytes -= n;
        at = 0;
    }
    return bytes ? -EINVAL : 0;
}

int part_of(const struct image_view *v, uint64_t at, uint64_t bytes, struct image_part *out)
{
    if (at > v->bytes || bytes > v->bytes - at) {
        return -EINVAL;
    }
    *out = (struct image_part){v, at, bytes};
    return 0;
}

int part_read(const struct image_part *p, uint64_t at, void *to, size_t bytes)
{
    if (at > p->bytes || bytes > p->bytes - at) {
        return -EINVAL;
    }
    return view_read(p->view, p->at + at, to, bytes);
}

int part_load(const struct image_part *p, size_t most, void **out)
{
    if (p->bytes > most) {
        return -EFBIG;
    }
    uint8_t *data = malloc((size_t)p->bytes + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    int rc = part_read(p, 0, data, (size_t)p->bytes);
    if (rc) {
        free(data);
        return rc;
    }
    data[p->bytes] = 0;
    *out = data;
    return 0;
}

int part_sha256(const struct image_part *p, uint64_t bytes, uint8_t hash[32])
{
    uint8_t *step = malloc(STEP);
    mbedtls_sha256_context sha;
    mbedtls_sha256_init(&sha);
    int rc = step == NULL ? -ENOMEM : mbedtls_sha256_starts_ret(&sha, 0) ? -EIO : 0;
    for (uint64_t at = 0; at < bytes && rc == 0; at += STEP) {
        size_t n = bytes - at < STEP ? (size_t)(bytes - at) : STEP;
        rc = part_read(p, at, step, n);
        if (rc == 0 && mbedtls_sha256_update_ret(&sha, step, n) != 0) {
            rc = -EIO;
        }
    }
    if (rc == 0 && mbedtls_sha256_finish_ret(&sha, hash) != 0) {
        rc = -EIO;
    }
    mbedtls_sha256_free(&sha);
    free(step);
    return rc;
}
