// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which files make up a model, by the name of one of them or of their folder; maps them.
#include "tensor/files.h"

#include "tensor/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct tn_files {
    struct gguf_block *block;
    char **name;
    size_t count;
    char *error;
    size_t error_bytes;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct tn_files *f, int rc,
                                                      const char *format, ...)
{
    __builtin_va_list args;
    __builtin_va_start(args, format);
    vsnprintf(f->error, f->error_bytes, format, args);
    __builtin_va_end(args);
    return rc;
}

// Maps one more file; `name` is kept and freed with the files.
static int map_file(struct tn_files *f, char *name)
{
    struct stat st;
    if (!name)
        return fail(f, -ENOMEM, "no memory");
    struct gguf_block *blocks = realloc(f->block, (f->count + 1) * sizeof *blocks);
    f->block = blocks ? blocks : f->block;
    char **names = realloc(f->name, (f->count + 1) * sizeof *names);
    f->name = names ? names : f->name;
    if (!blocks || !names) {
        free(name);
        return fail(f, -ENOMEM, "no memory");
    }
    blocks[f->count] = (struct gguf_block){NULL, 0};
    names[f->count++] = name;
    int fd = open(name, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = fail(f, -errno, "%s: %s", name, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = fail(f, -EINVAL, "%s: is no file", name);
    else if (st.st_size == 0)
        rc = fail(f, -EINVAL, "%s: the file is empty (at byte 0 of 0)", name);
    if (!rc) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            rc = fail(f, -errno, "%s: cannot be mapped: %s", name, strerror(errno));
        else {
            // Cold reading in 2 MB pages, where the file system can; only a wish.
            madvise(map, (size_t)st.st_size, MADV_HUGEPAGE);
            blocks[f->count - 1] = (struct gguf_block){map, (size_t)st.st_size};
        }
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

void tn_files_close(struct tn_files *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++) {
        if (f->block[i].data)
            munmap((void *)(uintptr_t)f->block[i].data, f->block[i].bytes);
        free(f->name[i]);
    }
    free(f->block);
    free(f->name);
    free(f);
}

uint64_t tn_files_bytes(const struct tn_files *f)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < f->count; i++)
        bytes += f->block[i].bytes;
    return bytes;
}

const struct gguf_block *tn_files_block(const struct tn_files *f, size_t i)
{
    return i < f->count ? &f->block[i] : NULL;
}

static char *joined(const char *folder, size_t folder_bytes, const char *name)
{
    char *path = malloc(folder_bytes + strlen(name) + 2);
    if (path)
        sprintf(path, "%.*s%s%s", (int)folder_bytes, folder,
                folder_bytes && folder[folder_bytes - 1] != '/' ? "/" : "", name);
    return path;
}

// ---- GGUF ---------------------------------------------------------------------------------------

// "-00001-of-00003" before the suffix: the count, and where the number begins.
static unsigned shard_count(const char *path, const char *suffix, size_t *at)
{
    enum { NUMBERS = 15 }; // characters
    size_t n = strlen(path), end = strlen(suffix);
    unsigned number, count;
    int used = 0;
    if (n <= NUMBERS + end || strcmp(path + n - end, suffix) != 0)
        return 0;
    *at = n - end - NUMBERS;
    if (sscanf(path + *at, "-%5u-of-%5u%n", &number, &count, &used) != 2 || used != NUMBERS)
        return 0;
    return number && number <= count ? count : 0;
}

static int open_gguf(struct tn_files *f, const char *path, struct gguf **index)
{
    size_t at;
    unsigned count = shard_count(path, ".gguf", &at);
    if (count < 2) {
        int rc = map_file(f, strdup(path));
        if (!rc)
            rc = gguf_open(f->block[0].data, f->block[0].bytes, index, f->error, f->error_bytes);
        return rc;
    }
    for (unsigned i = 1; i <= count; i++) {
        char tail[48];
        snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", i, count);
        char *name = malloc(at + sizeof tail);
        if (name)
            sprintf(name, "%.*s%s", (int)at, path, tail);
        int rc = map_file(f, name);
        if (rc == -ENOENT)
            fail(f, rc, "%s: file %u of the model's %u is missing", f->name[f->count - 1], i,
                 count);
        if (rc)
            return rc;
    }
    return gguf_open_shards(f->block, f->count, index, f->error, f->error_bytes);
}

// ---- safetensors --------------------------------------------------------------------------------

static struct safetensors_source source(const struct tn_files *f, size_t i)
{
    return (struct safetensors_source){f->name[i], f->block[i].data, f->block[i].bytes};
}

static bool is_there(const char *folder, size_t folder_bytes, const char *name)
{
    char *path = joined(folder, folder_bytes, name);
    bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

// The .safetensors files of a folder, from its index if there is one; the first becomes file
// `first`.
static int map_shards(struct tn_files *f, const char *folder, size_t folder_bytes)
{
    static const char one[] = "model.safetensors", many[] = "model.safetensors.index.json";
    if (!is_there(folder, folder_bytes, many))
        return map_file(f, joined(folder, folder_bytes, one));
    int rc = map_file(f, joined(folder, folder_bytes, many));
    if (rc)
        return rc;
    char **names = NULL;
    size_t count = 0;
    struct safetensors_source json = source(f, f->count - 1);
    rc = safetensors_index(&json, &names, &count, f->error, f->error_bytes);
    // The list itself is not needed any more: its place goes to the first shard.
    munmap((void *)(uintptr_t)json.data, json.bytes);
    free(f->name[--f->count]);
    for (size_t i = 0; i < count && !rc; i++)
        rc = map_file(f, joined(folder, folder_bytes, names[i]));
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return rc;
}

// `file`: one .safetensors file, or NULL for all of the folder's.
static int open_safetensors(struct tn_files *f, const char *folder, size_t folder_bytes,
                            const char *file, struct gguf **index)
{
    struct safetensors_model m = {0};
    if (!is_there(folder, folder_bytes, "config.json"))
        return fail(f, -ENOENT, "%.*s: no config.json: it is no folder of a model",
                    (int)folder_bytes, folder);
    int rc = map_file(f, joined(folder, folder_bytes, "config.json"));
    if (!rc)
        rc = map_file(f, joined(folder, folder_bytes, "tokenizer.json"));
    if (!rc && is_there(folder, folder_bytes, "tokenizer_config.json")) {
        rc = map_file(f, joined(folder, folder_bytes, "tokenizer_config.json"));
        if (!rc)
            m.tokenizer_config = source(f, 2);
    }
    size_t first = f->count;
    if (!rc)
        rc = file ? map_file(f, strdup(file)) : map_shards(f, folder, folder_bytes);
    if (rc)
        return rc;
    m.config = source(f, 0);
    m.tokenizer = source(f, 1);
    m.shard_count = f->count - first;
    struct safetensors_source *shards = calloc(m.shard_count, sizeof *shards);
    if (!shards)
        return fail(f, -ENOMEM, "no memory");
    for (size_t i = 0; i < m.shard_count; i++)
        shards[i] = source(f, first + i);
    m.shards = shards;
    rc = safetensors_open(&m, index, f->error, f->error_bytes);
    free(shards);
    return rc;
}

int tn_files_open(const char *path, struct tn_files **out, struct gguf **index, char *error,
                  size_t error_bytes)
{
    char reason[512] = "";
    struct stat st;
    struct tn_files *f = calloc(1, sizeof *f);
    if (!f) {
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    f->error = reason;
    f->error_bytes = sizeof reason;
    size_t n = strlen(path);
    int rc;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        rc = open_safetensors(f, path, n, NULL, index);
    } else if (n > 12 && strcmp(path + n - 12, ".safetensors") == 0) {
        size_t at;
        const char *slash = strrchr(path, '/');
        const char *alone = shard_count(path, ".safetensors", &at) > 1 ? NULL : path;
        rc = slash ? open_safetensors(f, path, (size_t)(slash - path) + 1, alone, index)
                   : open_safetensors(f, ".", 1, alone, index);
    } else {
        rc = open_gguf(f, path, index);
    }
    if (rc) {
        bool named = strncmp(reason, path, n) == 0;
        for (size_t i = 0; i < f->count; i++)
            named = named || strncmp(reason, f->name[i], strlen(f->name[i])) == 0;
        snprintf(error, error_bytes, "%s%s%s", named ? "" : path, named ? "" : ": ", reason);
        tn_files_close(f);
        return rc;
    }
    f->error_bytes = 0;
    *out = f;
    return 0;
}
