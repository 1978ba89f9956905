// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a boot module is: a GGUF, a device tree, a cpio archive, or something else.
#include "libos/manifest/collect.h"
#include "libos/manifest/cpio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool starts(const void *data, size_t bytes, const char *magic, size_t n)
{
    return bytes >= n && memcmp(data, magic, n) == 0;
}

enum boot_file_kind boot_file_kind_of(const void *data, size_t bytes)
{
    if (starts(data, bytes, "GGUF", 4)) {
        return BOOT_FILE_GGUF;
    }
    if (starts(data, bytes, "\xd0\x0d\xfe\xed", 4)) {
        return BOOT_FILE_DTB;
    }
    return BOOT_FILE_OTHER;
}

static int full(char *error, size_t error_bytes)
{
    snprintf(error, error_bytes, "more than %u boot files", BOOT_MAX_FILES);
    return -ENOSPC;
}

static int add_archive(struct boot_files *f, const void *data, size_t bytes,
                       enum boot_file_origin origin, char *error, size_t error_bytes)
{
    size_t offset = 0;
    struct cpio_entry e;
    const char *why = "";
    int got;
    while ((got = cpio_next(data, bytes, &offset, &e, &why)) > 0) {
        if ((e.mode & CPIO_TYPE_MASK) != CPIO_TYPE_REGULAR) {
            continue;
        }
        if (f->count == BOOT_MAX_FILES) {
            return full(error, error_bytes);
        }
        struct boot_file *file = &f->file[f->count];
        if (strlen(e.name) >= sizeof(file->name)) {
            snprintf(error, error_bytes, "cpio archive: name \"%.32s...\" is longer than %zu",
                     e.name, sizeof(file->name) - 1);
            return -EINVAL;
        }
        strcpy(file->name, e.name);
        file->data = e.data;
        file->bytes = e.bytes;
        file->origin = origin;
        file->kind = boot_file_kind_of(e.data, e.bytes);
        f->count++;
    }
    if (got < 0) {
        snprintf(error, error_bytes, "cpio archive damaged at byte %zu: %s", offset, why);
    }
    return got;
}

// The first keeps the plain name, later ones are numbered.
static void bare_name(char *out, size_t size, const char *stem, const char *suffix, unsigned *seen)
{
    if (++*seen == 1) {
        snprintf(out, size, "%s%s", stem, suffix);
    } else {
        snprintf(out, size, "%s-%u%s", stem, *seen, suffix);
    }
}

int boot_files_add(struct boot_files *f, const void *data, size_t bytes,
                   enum boot_file_origin origin, char *error, size_t error_bytes)
{
    if (starts(data, bytes, "070701", 6)) {
        return add_archive(f, data, bytes, origin, error, error_bytes);
    }
    if (starts(data, bytes, "\x1f\x8b", 2) || starts(data, bytes, "\x28\xb5\x2f\xfd", 4) ||
        starts(data, bytes,
               "\xfd"
               "7zXZ",
               5)) {
        snprintf(error, error_bytes,
                 "a boot module is compressed; give the GGUF, DTB or cpio archive itself");
        return -EINVAL;
    }
    if (f->count == BOOT_MAX_FILES) {
        return full(error, error_bytes);
    }
    struct boot_file *file = &f->file[f->count++];
    file->data = data;
    file->bytes = bytes;
    file->origin = origin;
    file->kind = boot_file_kind_of(data, bytes);
    if (file->kind == BOOT_FILE_GGUF) {
        bare_name(file->name, sizeof(file->name), "model", ".gguf", &f->bare_models);
    } else if (file->kind == BOOT_FILE_DTB) {
        bare_name(file->name, sizeof(file->name), "manifest", ".dtb", &f->bare_manifests);
    } else {
        bare_name(file->name, sizeof(file->name), "module", "", &f->unknown);
    }
    return 0;
}
