// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What of a GGUF file counts as its content, and what a packed file says of its source.
#include "hypercall/host/base/error.h"
#include "hypercall/host/store/private.h"

#include "tensor/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEFAULT_ALIGNMENT = 32 }; // GGUF: of tensor data without general.alignment

uint64_t weights_content_bytes(const struct gguf *file, uint64_t file_bytes)
{
    uint64_t alignment = DEFAULT_ALIGNMENT, used = gguf_used_bytes(file);
    if (gguf_u64(file, "general.alignment", &alignment) != 0 || alignment == 0) {
        alignment = DEFAULT_ALIGNMENT;
    }
    uint64_t over = used % alignment;
    // Compared as a rest, so that no sum can overflow.
    if (used >= file_bytes || (over && alignment - over > file_bytes - used)) {
        return file_bytes;
    }
    return over ? used + (alignment - over) : used;
}

// Packed files of old have no source_sha256: they are known by their own hash.
static void read_source(const struct gguf *g, struct weights_file *f)
{
    struct gguf_string hex;
    uint64_t version;
    f->says_source = gguf_u64(g, "tessera.packed.version", &version) == 0 && version >= 1 &&
                     version <= UINT32_MAX &&
                     gguf_str(g, "tessera.packed.source_sha256", &hex) == 0 &&
                     hex.bytes == 2 * sizeof f->source.sha256 &&
                     hex_read(hex.data, f->source.sha256, sizeof f->source.sha256);
    if (f->says_source) {
        f->source.packed_version = (uint32_t)version;
    }
}

static int read_content(struct weights_file *f, char *error, size_t error_bytes)
{
    size_t bytes = (size_t)f->status.st_size;
    char why[300] = "";
    struct gguf *g;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (map == MAP_FAILED) {
        return error_say(error, error_bytes, -errno, "%s: cannot be mapped: %s", f->path,
                         strerror(errno));
    }
    int rc = gguf_open(map, bytes, &g, why, sizeof why);
    if (rc) {
        error_say(error, error_bytes, rc, "%s: %s", f->path, why);
    } else {
        f->content = weights_content_bytes(g, bytes);
        read_source(g, f);
        gguf_close(g);
    }
    munmap(map, bytes);
    return rc;
}

int weights_file_open(const char *path, struct weights_file *out, char *error, size_t error_bytes)
{
    *out = (struct weights_file){.fd = -1};
    if (!realpath(path, out->path)) {
        return error_say(error, error_bytes, -errno, "%s: %s", path, strerror(errno));
    }
    // O_NONBLOCK: a pipe or device must not hang the opening; files do not know it.
    out->fd = open(out->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (out->fd < 0 || fstat(out->fd, &out->status) != 0) {
        int rc = error_say(error, error_bytes, -errno, "%s: %s", path, strerror(errno));
        weights_file_close(out);
        return rc;
    }
    int rc = 0;
    if (!S_ISREG(out->status.st_mode)) {
        rc = error_say(error, error_bytes, -EINVAL, "%s: is no file%s", path,
                       S_ISDIR(out->status.st_mode) ? " but a folder" : "");
    } else if (out->status.st_size == 0) {
        rc = error_say(error, error_bytes, -EINVAL, "%s: the file is empty", path);
    } else {
        rc = read_content(out, error, error_bytes);
    }
    if (rc) {
        weights_file_close(out);
    }
    return rc;
}

void weights_file_close(struct weights_file *f)
{
    if (f->fd >= 0) {
        close(f->fd);
    }
    f->fd = -1;
}

int weights_file_unchanged(const struct weights_file *f, char *error, size_t error_bytes)
{
    struct stat now;
    if (fstat(f->fd, &now) != 0) {
        return error_say(error, error_bytes, -errno, "%s: %s", f->path, strerror(errno));
    }
    const struct stat *was = &f->status;
    if (now.st_size != was->st_size || now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != was->st_mtim.tv_nsec) {
        return error_say(error, error_bytes, -ESTALE,
                         "%s: was changed while it was read; try again when it is whole", f->path);
    }
    return 0;
}
