// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading a qcow2 disk as `qemu-img convert` writes one: no backing file, no encryption, no
// compressed clusters. A backing file would let a stranger's image name any file of the reader's.
// Source: QEMU docs/interop/qcow2.txt.
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct qcow2 {
    uint64_t file_bytes, l1_at;
    uint32_t cluster_bits, l1_count;
};
enum { HEADER = 104, LEAST_BITS = 9, MOST_BITS = 21 };
#define OFFSET_MASK     0x00fffffffffffe00ull
#define FLAG_COMPRESSED (1ull << 62)
#define FLAG_ZERO       1ull
#define MOST_DISK       (1ull << 46)
#define BITS_DIRTY      1ull // refcounts are not needed for reading

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint64_t big64(const uint8_t *p)
{
    return (uint64_t)big32(p) << 32 | big32(p + 4);
}

static int refuse(const char **why, int rc, const char *what)
{
    *why = what;
    return rc;
}

int qcow2_open(struct image_source *s, const char **why)
{
    uint8_t h[HEADER];
    if (s->bytes < HEADER || source_read_file(s, 0, h, sizeof h) != 0) {
        return refuse(why, -EINVAL, "a qcow2 file without a whole header");
    }
    uint32_t version = big32(h + 4);
    if (version != 2 && version != 3) {
        return refuse(why, -ENOTSUP, "a qcow2 file of an unknown version");
    }
    if (big64(h + 8) != 0) {
        return refuse(why, -ENOTSUP, "a qcow2 file with a backing file, which is not followed");
    }
    if (big32(h + 32) != 0) {
        return refuse(why, -ENOTSUP, "an encrypted qcow2 file");
    }
    if (version == 3 && (big64(h + 72) & ~BITS_DIRTY) != 0) {
        return refuse(why, -ENOTSUP, "a qcow2 file with features that are not read");
    }
    uint64_t disk = big64(h + 24);
    struct qcow2 q = {.file_bytes = s->bytes,
                      .l1_at = big64(h + 40),
                      .cluster_bits = big32(h + 20),
                      .l1_count = big32(h + 36)};
    if (q.cluster_bits < LEAST_BITS || q.cluster_bits > MOST_BITS || disk > MOST_DISK) {
        return refuse(why, -EINVAL, "a qcow2 file with a damaged header");
    }
    uint32_t l2_bits = q.cluster_bits - 3;
    uint64_t wanted =
        (disk + (1ull << (q.cluster_bits + l2_bits)) - 1) >> (q.cluster_bits + l2_bits);
    if (q.l1_count < wanted || q.l1_at > s->bytes || q.l1_count * 8ull > s->bytes - q.l1_at) {
        return refuse(why, -EINVAL, "a qcow2 file with a damaged table");
    }
    s->qcow2 = malloc(sizeof q);
    if (s->qcow2 == NULL) {
        return refuse(why, -ENOMEM, "no memory");
    }
    *s->qcow2 = q;
    s->bytes = disk;
    return 0;
}

static int entry(const struct image_source *s, uint64_t at, uint64_t *out)
{
    uint8_t e[8];
    if (at > s->qcow2->file_bytes || s->qcow2->file_bytes - at < sizeof e) {
        return -EINVAL;
    }
    int rc = source_read_file(s, at, e, sizeof e);
    *out = big64(e);
    return rc;
}

static int read_cluster(const struct image_source *s, uint64_t at, uint8_t *to, size_t bytes)
{
    const struct qcow2 *q = s->qcow2;
    uint32_t l2_bits = q->cluster_bits - 3;
    uint64_t cluster = at >> q->cluster_bits, in = at & ((1ull << q->cluster_bits) - 1);
    uint64_t l1, l2 = 0;
    int rc = entry(s, q->l1_at + 8 * (cluster >> l2_bits), &l1);
    if (rc == 0 && (l1 & OFFSET_MASK) != 0) {
        rc = entry(s, (l1 & OFFSET_MASK) + 8 * (cluster & ((1ull << l2_bits) - 1)), &l2);
    }
    if (rc) {
        return rc;
    }
    if (l2 & FLAG_COMPRESSED) {
        return -ENOTSUP;
    }
    uint64_t data = l2 & OFFSET_MASK;
    if (data == 0 || (l2 & FLAG_ZERO)) {
        memset(to, 0, bytes);
        return 0;
    }
    if (data > q->file_bytes || in > q->file_bytes - data || bytes > q->file_bytes - data - in) {
        return -EINVAL;
    }
    return source_read_file(s, data + in, to, bytes);
}

int qcow2_read(const struct image_source *s, uint64_t at, void *to, size_t bytes)
{
    uint8_t *out = to;
    uint64_t size = 1ull << s->qcow2->cluster_bits;
    while (bytes > 0) {
        uint64_t left = size - (at & (size - 1));
        size_t n = bytes < left ? bytes : (size_t)left;
        int rc = read_cluster(s, at, out, n);
        if (rc) {
            return rc;
        }
        out += n;
        at += n;
        bytes -= n;
    }
    return 0;
}
