// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where the store keeps things, and the cache of hashes: one small file for each file that was
// hashed, by device and inode. It only saves time: whatever is wrong with it, the hash is computed
// again.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

int weights_cache_folder(const char *name, char *out, size_t out_bytes, char *error,
                         size_t error_bytes)
{
    int rc = folder_of_tessera(FOLDER_CACHE, out, out_bytes);
    if (rc == -ENOENT) {
        return error_say(error, error_bytes, rc,
                         "no place for a cache: neither XDG_CACHE_HOME nor HOME is set");
    }
    size_t used = rc ? 0 : strlen(out);
    if (rc || snprintf(out + used, out_bytes - used, "/%s", name) >= (int)(out_bytes - used)) {
        return error_say(error, error_bytes, -ENAMETOOLONG, "the cache folder's name is too long");
    }
    rc = folder_make_passable(out);
    if (rc) {
        return error_say(error, error_bytes, rc,
                         "the cache folder %s cannot be made: %s (XDG_CACHE_HOME names another)",
                         out, strerror(-rc));
    }
    return 0;
}

// All that must be as it was for the hash to hold.
static int write_key(const struct weights_file *f, char out[STORE_ENTRY])
{
    const struct stat *s = &f->status;
    return snprintf(out, STORE_ENTRY,
                    "tessera weights 1 device %llu inode %llu size %llu mtime %lld.%09ld "
                    "ctime %lld.%09ld content %llu sha256 ",
                    (unsigned long long)s->st_dev, (unsigned long long)s->st_ino,
                    (unsigned long long)s->st_size, (long long)s->st_mtim.tv_sec,
                    s->st_mtim.tv_nsec, (long long)s->st_ctim.tv_sec, s->st_ctim.tv_nsec,
                    (unsigned long long)f->content);
}

void hash_entry_write(const struct weights_file *f, const uint8_t sha256[32], char out[STORE_ENTRY])
{
    int length = write_key(f, out);
    hex_write(sha256, 32, out + length);
    memcpy(out + length + 64, "\n", 2);
}

bool hash_entry_read(const struct weights_file *f, const char *entry, size_t bytes,
                     uint8_t sha256[32])
{
    char key[STORE_ENTRY];
    size_t length = (size_t)write_key(f, key);
    return bytes == length + 65 && memcmp(entry, key, length) == 0 && entry[bytes - 1] == '\n' &&
           hex_read(entry + length, sha256, 32);
}

static int entry_path(const struct weights_file *f, char out[PATH_MAX])
{
    char folder[PATH_MAX], error[256];
    int rc = weights_cache_folder("hashes", folder, sizeof folder, error, sizeof error);
    if (rc) {
        return rc;
    }
    int n = snprintf(out, PATH_MAX, "%s/%llx-%llx", folder, (unsigned long long)f->status.st_dev,
                     (unsigned long long)f->status.st_ino);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

bool hash_cache_find(const struct weights_file *f, uint8_t sha256[32])
{
    char path[PATH_MAX], entry[STORE_ENTRY];
    if (entry_path(f, path) != 0) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, entry, sizeof entry);
    close(fd);
    return n > 0 && hash_entry_read(f, entry, (size_t)n, sha256);
}

// A file written to again within one tick of the file system's clock keeps its times. Ticks are up
// to 10 ms on file systems that count nanoseconds, 2 s on those that do not.
static bool is_too_fresh(const struct stat *s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double tick = s->st_ctim.tv_nsec ? 0.05 : 2.0;
    double age =
        (double)(now.tv_sec - s->st_ctim.tv_sec) + (double)(now.tv_nsec - s->st_ctim.tv_nsec) / 1e9;
    return age < tick;
}

void hash_cache_keep(const struct weights_file *f, const uint8_t sha256[32])
{
    char path[PATH_MAX], entry[STORE_ENTRY];
    if (is_too_fresh(&f->status) || entry_path(f, path) != 0) {
        return;
    }
    hash_entry_write(f, sha256, entry);
    (void)file_replace(path, NULL, entry, strlen(entry), 0600, false);
}
