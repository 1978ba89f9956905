// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files of this machine, as they are to stand on another one.
#include "hypercall/host/remote/private.h"

#include "hypercall/host/base/hex.h"
#include "tensor/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH_CHUNK = 4 << 20 };

static int map(const char *path, struct remote_file *out, char *error, size_t error_bytes)
{
    struct stat status;
    *out = (struct remote_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -errno : 0;
    rc = rc ? rc : fstat(fd, &status) != 0 ? -errno : 0;
    if (!rc && (!S_ISREG(status.st_mode) || status.st_size == 0)) {
        rc = -EINVAL;
    }
    void *data = rc ? MAP_FAILED : mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    rc = rc ? rc : data == MAP_FAILED ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        return remote_fail(error, error_bytes, rc, "%s: %s", path,
                           rc == -EINVAL ? "is no file with anything in it" : strerror(-rc));
    }
    out->data = data;
    out->bytes = out->mapped_bytes = out->capacity = (uint64_t)status.st_size;
    return 0;
}

void remote_file_unmap(struct remote_file *f)
{
    if (f->data) {
        munmap((void *)(uintptr_t)f->data, f->mapped_bytes);
    }
    f->data = NULL;
}

static void hash(struct remote_file *f, const char *what, const struct weights_progress *progress)
{
    mbedtls_sha256_context c;
    mbedtls_sha256_init(&c);
    mbedtls_sha256_starts_ret(&c, 0);
    for (uint64_t at = 0, n; at < f->bytes; at += n) {
        n = f->bytes - at < HASH_CHUNK ? f->bytes - at : HASH_CHUNK;
        mbedtls_sha256_update_ret(&c, f->data + at, n);
        if (progress && progress->show) {
            progress->show(progress->context, what, at + n, f->bytes);
        }
    }
    mbedtls_sha256_finish_ret(&c, f->sha256);
    mbedtls_sha256_free(&c);
}

static void name(struct remote_file *f, const char *ending)
{
    char *at = f->volume;
    at += sprintf(at, "sha256-");
    hex_write(f->sha256, sizeof f->sha256, at);
    snprintf(at + 2 * sizeof f->sha256, 16, "%s", ending);
}

int remote_file_map_model(const char *path, const char *identity, bool power,
                          const struct weights_progress *progress, struct remote_file *out,
                          char *error, size_t error_bytes)
{
    struct weights_identity id;
    struct gguf *g;
    char why[300] = "";
    int rc = map(path, out, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = gguf_open((void *)(uintptr_t)out->data, out->bytes, &g, why, sizeof why);
    if (rc) {
        remote_file_unmap(out);
        return remote_fail(error, error_bytes, rc, "%s: %s", path, why);
    }
    out->bytes = weights_content_bytes(g, out->bytes);
    gguf_close(g);
    out->capacity = (out->bytes + WEIGHTS_MULTIPLE - 1) / WEIGHTS_MULTIPLE * WEIGHTS_MULTIPLE;
    if (weights_identity_parse(identity, &id) == 0 && !id.packed_version) {
        memcpy(out->sha256, id.sha256, sizeof out->sha256);
    } else {
        hash(out, "Reading the packed model", progress);
    }
    bool is_power = (out->capacity & (out->capacity - 1)) == 0;
    for (uint64_t bytes = WEIGHTS_MULTIPLE; power && !is_power; bytes *= 2) {
        is_power = bytes >= out->capacity;
        out->capacity = is_power ? bytes : out->capacity;
    }
    // Of the same content, and of another size where that is no power of two itself.
    bool other = power && out->capacity != (out->bytes + WEIGHTS_MULTIPLE - 1) / WEIGHTS_MULTIPLE *
                                               WEIGHTS_MULTIPLE;
    name(out, other ? "-power.gguf" : ".gguf");
    return 0;
}

int remote_file_map(const char *path, const char *ending, struct remote_file *out, char *error,
                    size_t error_bytes)
{
    int rc = map(path, out, error, error_bytes);
    if (!rc) {
        hash(out, "", NULL);
        name(out, ending);
    }
    return rc;
}
