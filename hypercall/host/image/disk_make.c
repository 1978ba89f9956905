// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A disk with an ESP, made from its files: every file in one piece, in a fixed order, with one
// fixed date (FAT's first), and all identifiers taken from the contents' SHA-256.
#include "hypercall/host/image/disk.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT, EFI, BOOT, TESSERA, FOLDERS, FILES = 3, DATE = 1 << 5 | 1, ALIGN_SECTORS = 2048 };
#define SMALL_CLUSTERS_TO (256ull << 20)

uint32_t crc32_of(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    while (bytes-- > 0) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

struct layout {
    uint32_t per_cluster, cluster_bytes, clusters, table_sectors;
    uint64_t sectors;               // of the partition
    uint32_t first[FILES];          // cluster
    uint32_t next;                  // first cluster after the last file
    const struct rope *file[FILES]; // BOOTX64.EFI, manifest.dtb, model.gguf; NULL: absent
};

static uint64_t clusters_of(uint64_t bytes, uint32_t cluster_bytes)
{
    return (bytes + cluster_bytes - 1) / cluster_bytes;
}

static int plan(struct layout *l)
{
    uint64_t bytes = 0, used = FOLDERS;
    for (int i = 0; i < FILES; i++) {
        bytes += l->file[i] ? l->file[i]->bytes : 0;
        if (l->file[i] && l->file[i]->bytes > UINT32_MAX) {
            return -EFBIG;
        }
    }
    l->per_cluster = bytes < SMALL_CLUSTERS_TO ? 1 : 8;
    l->cluster_bytes = l->per_cluster * SECTOR;
    for (int i = 0; i < FILES; i++) {
        l->first[i] = (uint32_t)(used + FAT_ROOT);
        used += l->file[i] ? clusters_of(l->file[i]->bytes, l->cluster_bytes) : 0;
    }
    l->next = (uint32_t)(used + FAT_ROOT);
    uint64_t least = FAT_LEAST_CLUSTERS + 64;
    l->clusters = (uint32_t)(used < least ? least : used);
    l->table_sectors = (uint32_t)clusters_of((l->clusters + 2ull) * 4, SECTOR);
    l->sectors = FAT_RESERVED + FAT_COPIES * (uint64_t)l->table_sectors +
                 (uint64_t)l->clusters * l->per_cluster;
    return 0;
}

static void boot_sector(const struct layout *l, uint8_t *b, const uint8_t id[32])
{
    memcpy(b, "\xeb\x58\x90TESSERA ", 11);
    put16(b + 11, SECTOR);
    b[13] = (uint8_t)l->per_cluster;
    put16(b + 14, FAT_RESERVED);
    b[16] = FAT_COPIES;
    b[21] = 0xf8;
    put16(b + 24, 63); // sectors a track, heads: nobody's any more
    put16(b + 26, 255);
    put32(b + 28, ESP_FIRST);
    put32(b + 32, (uint32_t)l->sectors);
    put32(b + 36, l->table_sectors);
    put32(b + 44, FAT_ROOT);
    put16(b + 48, 1); // FSInfo
    put16(b + 50, 6); // copy of this sector
    b[64] = 0x80;
    b[66] = 0x29;
    memcpy(b + 67, id, 4);
    memcpy(b + 71, "TESSERA    FAT32   ", 19);
    b[510] = 0x55;
    b[511] = 0xaa;
}

static void info_sector(const struct layout *l, uint8_t *b)
{
    put32(b, 0x41615252);
    put32(b + 484, 0x61417272);
    put32(b + 488, l->clusters + FAT_ROOT - l->next); // free
    put32(b + 492, l->next);
    b[510] = 0x55;
    b[511] = 0xaa;
}

static void allocation_table(const struct layout *l, uint8_t *t)
{
    put32(t, 0x0ffffff8);
    put32(t + 4, FAT_MASK);
    for (uint32_t c = FAT_ROOT; c < FAT_ROOT + FOLDERS; c++) {
        put32(t + 4 * (size_t)c, FAT_MASK);
    }
    for (int i = 0; i < FILES; i++) {
        uint64_t n = l->file[i] ? clusters_of(l->file[i]->bytes, l->cluster_bytes) : 0;
        for (uint64_t k = 0; k < n; k++) {
            uint32_t c = l->first[i] + (uint32_t)k;
            put32(t + 4 * (size_t)c, k + 1 == n ? FAT_MASK : c + 1);
        }
    }
}

static uint8_t *entry(uint8_t *e, const char *name, uint8_t kind, uint32_t cluster, uint64_t bytes)
{
    memcpy(e, name, 11);
    e[11] = kind;
    put16(e + 16, DATE);
    put16(e + 18, DATE);
    put16(e + 20, cluster >> 16);
    put16(e + 24, DATE);
    put16(e + 26, cluster & 0xffff);
    put32(e + 28, (uint32_t)bytes);
    return e + FAT_ENTRY_BYTES;
}

// A long name of at most 13 characters in front of its short one.
static uint8_t *long_entry(uint8_t *e, const char *text, const char *name)
{
    static const uint8_t places[13] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
    uint8_t sum = 0;
    for (int i = 0; i < 11; i++) {
        sum = (uint8_t)((sum >> 1 | sum << 7) + (uint8_t)name[i]);
    }
    size_t length = strlen(text);
    e[0] = 0x41; // the only one, the last
    e[11] = FAT_LONG_NAME;
    e[13] = sum;
    for (size_t i = 0; i < sizeof places; i++) {
        put16(e + places[i], i < length ? (uint8_t)text[i] : i == length ? 0 : 0xffff);
    }
    return e + FAT_ENTRY_BYTES;
}

static void folders(const struct layout *l, uint8_t *to)
{
    static const char dot[] = ".          ", up[] = "..         ";
    const struct rope *const *f = l->file;
    uint8_t *e = entry(to, "TESSERA    ", 0x08, 0, 0); // the volume's label
    e = entry(e, "EFI        ", FAT_FOLDER, FAT_ROOT + EFI, 0);
    entry(e, "TESSERA    ", FAT_FOLDER, FAT_ROOT + TESSERA, 0);

    e = entry(to + (size_t)EFI * l->cluster_bytes, dot, FAT_FOLDER, FAT_ROOT + EFI, 0);
    e = entry(e, up, FAT_FOLDER, 0, 0);
    entry(e, "BOOT       ", FAT_FOLDER, FAT_ROOT + BOOT, 0);

    e = entry(to + (size_t)BOOT * l->cluster_bytes, dot, FAT_FOLDER, FAT_ROOT + BOOT, 0);
    e = entry(e, up, FAT_FOLDER, FAT_ROOT + EFI, 0);
    entry(e, "BOOTX64 EFI", 0x20, l->first[0], f[0]->bytes);

    e = entry(to + (size_t)TESSERA * l->cluster_bytes, dot, FAT_FOLDER, FAT_ROOT + TESSERA, 0);
    e = entry(e, up, FAT_FOLDER, 0, 0);
    if (f[1]) {
        e = entry(long_entry(e, "manifest.dtb", "MANIFESTDTB"), "MANIFESTDTB", 0x20, l->first[1],
                  f[1]->bytes);
    }
    if (f[2]) {
        entry(long_entry(e, "model.gguf", "MODEL~1 GGU"), "MODEL~1 GGU", 0x20, l->first[2],
              f[2]->bytes);
    }
}

// RFC 9562's version 8: the other bits are the maker's own.
static void identifier(uint8_t *to, const uint8_t hash[16])
{
    memcpy(to, hash, 16);
    to[7] = (uint8_t)((to[7] & 0x0f) | 0x80);
    to[8] = (uint8_t)((to[8] & 0x3f) | 0x80);
}

static void gpt_header(uint8_t *h, uint64_t own, uint64_t other, uint64_t sectors, uint64_t table,
                       const uint8_t id[32], const uint8_t *entries)
{
    memcpy(h, "EFI PART", 8);
    put32(h + 8, 0x00010000);
    put32(h + 12, 92);
    put64(h + 24, own);
    put64(h + 32, other);
    put64(h + 40, 2 + GPT_TABLE_SECTORS);
    put64(h + 48, sectors - 2 - GPT_TABLE_SECTORS);
    identifier(h + 56, id);
    put64(h + 72, table);
    put32(h + 80, GPT_ENTRIES);
    put32(h + 84, GPT_ENTRY_BYTES);
    put32(h + 88, crc32_of(entries, (size_t)GPT_ENTRIES * GPT_ENTRY_BYTES));
    put32(h + 16, crc32_of(h, 92));
}

static void protective_mbr(uint8_t *b, uint64_t sectors)
{
    uint8_t *e = b + 446;
    put16(e + 1, 0x0002);
    e[4] = 0xee;
    memset(e + 5, 0xff, 3);
    put32(e + 8, 1);
    put32(e + 12, sectors - 1 > UINT32_MAX ? UINT32_MAX : (uint32_t)(sectors - 1));
    b[510] = 0x55;
    b[511] = 0xaa;
}

static void gpt_entries(uint8_t *e, const struct layout *l, const uint8_t id[32])
{
    static const char name[] = "EFI system partition";
    memcpy(e, ESP_TYPE, 16);
    identifier(e + 16, id + 16);
    put64(e + 32, ESP_FIRST);
    put64(e + 40, ESP_FIRST + l->sectors - 1);
    for (size_t i = 0; i < sizeof name - 1; i++) {
        put16(e + 56 + 2 * i, (uint8_t)name[i]);
    }
}

static int identity(const struct layout *l, uint8_t id[32])
{
    uint8_t all[FILES * 32] = {0};
    for (int i = 0; i < FILES; i++) {
        int rc = l->file[i] ? rope_sha256(l->file[i], all + (size_t)32 * (size_t)i) : 0;
        if (rc) {
            return rc;
        }
    }
    return mbedtls_sha256_ret(all, sizeof all, id, 0) ? -EIO : 0;
}

int disk_make(struct rope *r, struct keep *k, const struct rope *efi, const struct rope *manifest,
              const struct rope *model)
{
    struct layout l = {.file = {efi, manifest, model}};
    uint8_t id[32];
    int rc = plan(&l);
    rc = rc ? rc : identity(&l, id);
    if (rc) {
        return rc;
    }
    size_t table_bytes = (size_t)l.table_sectors * SECTOR;
    uint8_t *front = keep_new(k, (size_t)(2 + GPT_TABLE_SECTORS) * SECTOR);
    uint8_t *back = keep_new(k, (size_t)(1 + GPT_TABLE_SECTORS) * SECTOR);
    uint8_t *reserved = keep_new(k, (size_t)FAT_RESERVED * SECTOR);
    uint8_t *table = keep_new(k, table_bytes);
    uint8_t *names = keep_new(k, (size_t)FOLDERS * l.cluster_bytes);
    if (!front || !back || !reserved || !table || !names) {
        return -ENOMEM;
    }
    uint64_t sectors = round_up(ESP_FIRST + l.sectors + GPT_TABLE_SECTORS + 1, ALIGN_SECTORS);
    uint8_t *entries = front + 2 * SECTOR;
    protective_mbr(front, sectors);
    gpt_entries(entries, &l, id);
    memcpy(back, entries, (size_t)GPT_TABLE_SECTORS * SECTOR);
    gpt_header(front + SECTOR, 1, sectors - 1, sectors, 2, id, entries);
    gpt_header(back + (size_t)GPT_TABLE_SECTORS * SECTOR, sectors - 1, 1, sectors,
               sectors - 1 - GPT_TABLE_SECTORS, id, entries);
    boot_sector(&l, reserved, id);
    info_sector(&l, reserved + SECTOR);
    memcpy(reserved + (size_t)6 * SECTOR, reserved, (size_t)2 * SECTOR);
    allocation_table(&l, table);
    folders(&l, names);

    rope_memory(r, front, (size_t)(2 + GPT_TABLE_SECTORS) * SECTOR);
    rope_zeros(r, (uint64_t)ESP_FIRST * SECTOR - r->bytes);
    rope_memory(r, reserved, (size_t)FAT_RESERVED * SECTOR);
    rope_memory(r, table, table_bytes);
    rope_memory(r, table, table_bytes);
    rope_memory(r, names, (size_t)FOLDERS * l.cluster_bytes);
    for (int i = 0; i < FILES; i++) {
        if (l.file[i]) {
            rope_add(r, l.file[i]);
            rope_zeros(r, round_up(l.file[i]->bytes, l.cluster_bytes) - l.file[i]->bytes);
        }
    }
    rope_zeros(r, (sectors - GPT_TABLE_SECTORS - 1) * SECTOR - r->bytes);
    rope_memory(r, back, (size_t)(1 + GPT_TABLE_SECTORS) * SECTOR);
    return 0;
}
