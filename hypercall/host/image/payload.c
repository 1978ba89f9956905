// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The payload: a cpio archive (newc) with image.dtb, manifest.dtb and, aligned to a page so that
// the guest uses it where it lies, model.gguf. Times, owners and inodes are zero or counted: equal
// contents give equal bytes. Source: Linux
// Documentation/driver-api/early-userspace/buffer-format.rst.
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 110, MOST_NAME = 64, MOST_MEMBERS = 16, PAGE = 4096, ROOM = 512 };

static size_t header(char *to, uint32_t inode, const char *name, uint64_t bytes)
{
    size_t name_bytes = strlen(name) + 1;
    size_t all = (size_t)round_up(HEADER + name_bytes, 4);
    memset(to, 0, all);
    snprintf(to, HEADER + 1, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode,
             inode ? 0100444u : 0u, 0u, 0u, 1u, 0u, (unsigned)bytes, 0u, 0u, 0u, 0u,
             (unsigned)name_bytes, 0u);
    memcpy(to + HEADER, name, name_bytes);
    return all;
}

static void member(struct rope *r, char *room, uint32_t inode, const char *name, const void *data,
                   uint64_t bytes)
{
    rope_memory(r, room, header(room, inode, name, bytes));
    rope_memory(r, data, bytes);
    rope_pad(r, 4);
}

int payload_make(struct rope *r, struct keep *k, const void *record, size_t record_bytes,
                 const void *manifest, size_t manifest_bytes, int model, uint64_t model_bytes)
{
    char *room = keep_new(k, (size_t)5 * ROOM);
    if (room == NULL) {
        return -ENOMEM;
    }
    if (model >= 0 && model_bytes > UINT32_MAX) {
        return -EFBIG;
    }
    member(r, room, 1, "image.dtb", record, record_bytes);
    if (manifest != NULL) {
        member(r, room + ROOM, 2, "manifest.dtb", manifest, manifest_bytes);
    }
    if (model >= 0) {
        // An empty-worded file in front brings the model's data to a page's beginning.
        char probe[ROOM];
        uint64_t before = header(probe, 3, ".pad", 0) + header(probe, 4, "model.gguf", 0);
        uint64_t pad = round_up(r->bytes + before, PAGE) - r->bytes - before;
        rope_memory(r, room + 2 * ROOM, header(room + 2 * ROOM, 3, ".pad", pad));
        rope_zeros(r, pad);
        rope_memory(r, room + 3 * ROOM, header(room + 3 * ROOM, 4, "model.gguf", model_bytes));
        rope_file(r, model, 0, model_bytes);
        rope_pad(r, 4);
    }
    rope_memory(r, room + 4 * ROOM, header(room + 4 * ROOM, 0, "TRAILER!!!", 0));
    rope_pad(r, 4);
    return 0;
}

static bool hex32(const char *text, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 8; i++) {
        char c = text[i];
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                                            : 16;
        if (d > 15) {
            return false;
        }
        *out = *out << 4 | d;
    }
    return true;
}

int payload_read(const struct image_part *p, struct payload_facts *out, const char **why)
{
    uint64_t at = 0;
    memset(out, 0, sizeof *out);
    *why = "has a damaged payload";
    for (int i = 0; i < MOST_MEMBERS; i++) {
        char h[HEADER], name[MOST_NAME + 1] = "";
        uint32_t bytes, name_bytes;
        if (part_read(p, at, h, sizeof h) != 0 || memcmp(h, "070701", 6) != 0 ||
            !hex32(h + 6 + 6 * 8, &bytes) || !hex32(h + 6 + 11 * 8, &name_bytes) ||
            name_bytes == 0 || name_bytes > MOST_NAME ||
            part_read(p, at + HEADER, name, name_bytes) != 0) {
            return -EINVAL;
        }
        uint64_t data = round_up(at + HEADER + name_bytes, 4);
        if (strcmp(name, "TRAILER!!!") == 0) {
            return out->record.bytes ? 0 : -EINVAL;
        }
        if (data > p->bytes || bytes > p->bytes - data) {
            return -EINVAL;
        }
        struct image_part *to = strcmp(name, "image.dtb") == 0      ? &out->record
                                : strcmp(name, "manifest.dtb") == 0 ? &out->manifest
                                : strcmp(name, "model.gguf") == 0   ? &out->model
                                                                    : NULL;
        if (to != NULL && (to->bytes || part_of(p->view, p->at + data, bytes, to) != 0)) {
            return -EINVAL;
        }
        at = round_up(data + bytes, 4);
    }
    return -EINVAL;
}
