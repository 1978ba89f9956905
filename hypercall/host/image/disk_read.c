// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finding an ESP's files: GPT, FAT32, three short names. Every chain is bounded by what the file's
// size can take.
#include "hypercall/host/image/disk.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FOLDER = 1 << 20, MOST_EXTENTS = 1 << 16, CACHED = 1024 };

struct fat {
    const struct image_source *source;
    uint64_t begin, table_at, data_at; // bytes
    uint32_t cluster_bytes, clusters, root;
    uint64_t cached_at; // entry number of the first cached one; UINT64_MAX: none
    uint8_t cache[CACHED * 4];
};

static int next_cluster(struct fat *f, uint32_t cluster, uint32_t *next)
{
    uint64_t first = cluster / CACHED * CACHED;
    if (cluster < 2 || cluster - 2 >= f->clusters) {
        return -EINVAL;
    }
    if (f->cached_at != first) {
        uint64_t have = f->clusters + 2ull - first;
        size_t n = have < CACHED ? (size_t)have : CACHED;
        f->cached_at = UINT64_MAX;
        int rc = source_read(f->source, f->table_at + first * 4, f->cache, n * 4);
        if (rc) {
            return rc;
        }
        f->cached_at = first;
    }
    *next = get32(f->cache + (cluster - first) * 4) & FAT_MASK;
    return 0;
}

// The chain that begins at `cluster` as extents, to `bytes` (0: to its end, at most MOST_FOLDER).
static int chain(struct fat *f, uint32_t cluster, uint64_t bytes, struct image_view *out)
{
    uint64_t left = bytes ? bytes : MOST_FOLDER;
    size_t room = 0;
    *out = (struct image_view){.source = f->source};
    while (left > 0) {
        uint64_t at = f->data_at + (uint64_t)(cluster - 2) * f->cluster_bytes;
        uint64_t n = left < f->cluster_bytes ? left : f->cluster_bytes;
        uint32_t next;
        int rc = next_cluster(f, cluster, &next);
        if (rc) {
            return rc;
        }
        struct image_extent *last = out->extent_count ? &out->extents[out->extent_count - 1] : NULL;
        if (last && last->at + last->bytes == at) {
            last->bytes += n;
        } else {
            if (out->extent_count == room) {
                room = room ? 2 * room : 4;
                void *grown =
                    room > MOST_EXTENTS ? NULL : realloc(out->extents, room * sizeof *out->extents);
                if (grown == NULL) {
                    return -ENOMEM;
                }
                out->extents = grown;
            }
            out->extents[out->extent_count++] = (struct image_extent){at, n};
        }
        out->bytes += n;
        left -= n;
        if (next >= FAT_LAST) {
            break;
        }
        cluster = next;
    }
    return bytes && left ? -EINVAL : 0; // the chain is shorter than the file
}

// The entry of a short name in a folder; its first cluster and size.
static int find(struct fat *f, uint32_t folder, const char name[12], bool is_folder,
                uint32_t *cluster, uint32_t *bytes)
{
    struct image_view v;
    uint8_t e[FAT_ENTRY_BYTES];
    int rc = chain(f, folder, 0, &v);
    for (uint64_t at = 0; rc == 0; at += sizeof e) {
        if (at + sizeof e > v.bytes || (rc = view_read(&v, at, e, sizeof e)) != 0 || e[0] == 0) {
            rc = rc ? rc : -ENOENT;
            break;
        }
        if (e[11] != FAT_LONG_NAME && memcmp(e, name, 11) == 0 &&
            ((e[11] & FAT_FOLDER) != 0) == is_folder) {
            *cluster = (uint32_t)get16(e + 20) << 16 | get16(e + 26);
            *bytes = get32(e + 28);
            break;
        }
    }
    free(v.extents);
    return rc;
}

static int file(struct fat *f, uint32_t folder, const char name[12], struct image_view *out)
{
    uint32_t cluster, bytes;
    int rc = find(f, folder, name, false, &cluster, &bytes);
    if (rc || bytes == 0 || bytes > f->source->bytes) {
        return rc || bytes == 0 ? rc : -EINVAL;
    }
    return chain(f, cluster, bytes, out);
}

static int open_fat(const struct image_source *s, uint64_t begin, uint64_t bytes, struct fat *f)
{
    uint8_t b[SECTOR];
    int rc = source_read(s, begin, b, sizeof b);
    if (rc || get16(b + 11) != SECTOR || b[510] != 0x55 || b[511] != 0xaa || get16(b + 22) != 0) {
        return rc ? rc : -EINVAL; // bytes 22-23 are zero in a FAT32 alone
    }
    uint64_t per_cluster = b[13], reserved = get16(b + 14), copies = b[16];
    uint64_t sectors = get32(b + 32), table = get32(b + 36);
    if (per_cluster == 0 || copies == 0 || table == 0 || sectors > bytes / SECTOR ||
        reserved + copies * table >= sectors) {
        return -EINVAL;
    }
    uint64_t clusters = (sectors - reserved - copies * table) / per_cluster;
    if ((clusters + 2) * 4 > table * SECTOR || clusters > FAT_MASK) {
        return -EINVAL;
    }
    *f = (struct fat){.source = s,
                      .begin = begin,
                      .table_at = begin + reserved * SECTOR,
                      .data_at = begin + (reserved + copies * table) * SECTOR,
                      .cluster_bytes = (uint32_t)per_cluster * SECTOR,
                      .clusters = (uint32_t)clusters,
                      .root = get32(b + 44),
                      .cached_at = UINT64_MAX};
    return 0;
}

static int find_esp(const struct image_source *s, uint64_t *begin, uint64_t *bytes)
{
    uint8_t header[SECTOR], e[GPT_ENTRY_BYTES];
    if (source_read(s, SECTOR, header, sizeof header) != 0 || memcmp(header, "EFI PART", 8) != 0) {
        return -ENOENT;
    }
    uint64_t table = get64(header + 72);
    uint32_t count = get32(header + 80), entry_bytes = get32(header + 84);
    if (entry_bytes < GPT_ENTRY_BYTES || entry_bytes > 4096 || count > 1024 ||
        table > s->bytes / SECTOR) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < count; i++) {
        int rc = source_read(s, table * SECTOR + (uint64_t)i * entry_bytes, e, sizeof e);
        if (rc) {
            return rc;
        }
        uint64_t first = get64(e + 32), last = get64(e + 40);
        if (memcmp(e, ESP_TYPE, 16) == 0) {
            if (first > last || last >= s->bytes / SECTOR) {
                return -EINVAL;
            }
            *begin = first * SECTOR;
            *bytes = (last - first + 1) * SECTOR;
            return 0;
        }
    }
    return -ENOENT;
}

// Absent files are not wrong.
static int optional(int rc)
{
    return rc == -ENOENT ? 0 : rc;
}

int disk_read(const struct image_source *s, struct disk_facts *out, const char **why)
{
    uint64_t begin, bytes;
    uint32_t folder, ignored;
    struct fat *f = malloc(sizeof *f);
    memset(out, 0, sizeof *out);
    *why = "is no disk with an EFI system partition, and no other image";
    int rc = f == NULL ? -ENOMEM : find_esp(s, &begin, &bytes);
    if (rc == 0) {
        *why = "has an EFI system partition that is damaged or no FAT32";
        rc = open_fat(s, begin, bytes, f);
    }
    rc = rc ? rc : find(f, f->root, "EFI        ", true, &folder, &ignored);
    rc = rc ? rc : find(f, folder, "BOOT       ", true, &folder, &ignored);
    rc = rc ? rc : file(f, folder, "BOOTX64 EFI", &out->efi);
    if (rc == 0 && find(f, f->root, "TESSERA    ", true, &folder, &ignored) == 0) {
        rc = optional(file(f, folder, "MANIFESTDTB", &out->manifest));
        rc = rc ? rc : optional(file(f, folder, "MODEL~1 GGU", &out->model));
    }
    free(f);
    if (rc) {
        disk_facts_free(out);
    }
    return rc == -ENOENT ? -ENOEXEC : rc;
}

void disk_facts_free(struct disk_facts *d)
{
    free(d->efi.extents);
    free(d->manifest.extents);
    free(d->model.extents);
    memset(d, 0, sizeof *d);
}
