// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a GGUF file says of itself: type, architecture, what it is for.
#include "hypercall/host/packages/model.h"
#include "hypercall/host/packages/private.h"

#include "tensor/gguf.h"
#include "tensor/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void copy_key(const struct gguf *g, const char *key, char *out, size_t room)
{
    struct gguf_string s;
    char text[PACKAGES_TEXT] = "";
    if (gguf_str(g, key, &s) == 0 && !memchr(s.data, 0, s.bytes)) {
        snprintf(text, sizeof text, "%.*s", (int)(s.bytes < 512 ? s.bytes : 512), s.data);
    }
    pk_plain(out, room, text);
}

static void find_type(const struct gguf *g, char out[32])
{
    uint64_t bytes[TN_TYPE_LIMIT] = {0};
    uint32_t most = 0;
    for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        uint32_t type = t->type & ~(uint32_t)TN_PACKED;
        if (type < TN_TYPE_LIMIT) {
            bytes[type] += t->bytes;
            most = bytes[type] > bytes[most] ? type : most;
        }
    }
    snprintf(out, 32, "%s", bytes[most] ? tn_type_info(most)->name : "none");
}

int model_facts_read(struct packages *p, const char *path, struct model_facts *out)
{
    struct stat s;
    char why[300] = "";
    void *map = MAP_FAILED;
    *out = (struct model_facts){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 || fstat(fd, &s) != 0            ? -errno
             : !S_ISREG(s.st_mode) || s.st_size == 0 ? -EINVAL
                                                     : 0;
    if (!rc) {
        map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
        rc = map == MAP_FAILED ? -errno : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        return pk_fail(p, rc, "%s: %s", path,
                       rc == -EINVAL ? "is no file, or an empty one" : strerror(-rc));
    }
    struct gguf *g;
    rc = gguf_open(map, (size_t)s.st_size, &g, why, sizeof why);
    if (rc) {
        pk_fail(p, rc, "%s: %s", path, why);
    } else {
        out->file_bytes = (uint64_t)s.st_size;
        out->content = weights_content_bytes(g, out->file_bytes);
        find_type(g, out->type);
        copy_key(g, "general.architecture", out->architecture, sizeof out->architecture);
        copy_key(g, "general.license", out->licence, sizeof out->licence);
        copy_key(g, "general.description", out->description, sizeof out->description);
        if (!out->description[0]) {
            copy_key(g, "general.name", out->description, sizeof out->description);
        }
        gguf_close(g);
    }
    munmap(map, (size_t)s.st_size);
    return rc;
}
