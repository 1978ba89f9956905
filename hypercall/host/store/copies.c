// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Copies in the cache: what each is a copy of, and which of them nobody needs any more. Beside
// NAME.gguf (or NAME.copy, of an image) stand NAME.from, the source's path, touched whenever a
// guest is made or started from the copy, and NAME.lock.
#include "hypercall/host/base/error.h"
#include "hypercall/host/store/private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

// A run that chose its copy defines its guest well within this.
enum { RECENT_SECONDS = 600 };

static int beside(const char *copy, const char *ending, char out[PATH_MAX])
{
    const char *dot = strrchr(copy, '.');
    int length = dot ? (int)(dot - copy) : (int)strlen(copy);
    return snprintf(out, PATH_MAX, "%.*s%s", length, copy, ending) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool read_source(const char *copy, char source[PATH_MAX], time_t *used)
{
    char path[PATH_MAX];
    struct stat s;
    int fd = beside(copy, ".from", path) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    ssize_t n = fstat(fd, &s) == 0 ? read(fd, source, PATH_MAX - 1) : -1;
    close(fd);
    if (n <= 0) {
        return false;
    }
    source[n] = 0; // a path has any character but this one
    *used = s.st_mtime;
    return true;
}

void copy_note_source(const char *copy, const char *source)
{
    char path[PATH_MAX], before[PATH_MAX];
    time_t used;
    if (beside(copy, ".from", path) != 0) {
        return;
    }
    if (read_source(copy, before, &used) && strcmp(before, source) == 0) {
        utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        // Torn, it names another source, or none: the copy is made again some day.
        (void)!write(fd, source, strlen(source));
        close(fd);
    }
}

int copy_lock(const char *copy, bool wait, char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    int rc = beside(copy, ".lock", path);
    int fd = rc ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return error_say(error, error_bytes, rc ? rc : -errno, "%s: %s", path,
                         strerror(rc ? -rc : errno));
    }
    do { // the holder's end, however it comes, opens it
        rc = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
    } while (rc == -EINTR);
    if (rc) {
        close(fd);
        return error_say(error, error_bytes, rc, "%s: cannot be locked: %s", path, strerror(-rc));
    }
    return fd;
}

// ---- copies of any file ------------------------------------------------------------------------

// By what the source is now: another content has another name.
static int name_file_copy(const struct stat *s, const char *guest, char out[PATH_MAX], char *error,
                          size_t error_bytes)
{
    char folder[PATH_MAX - 128];
    int rc = weights_cache_folder("files", folder, sizeof folder, error, error_bytes);
    if (rc == 0) {
        snprintf(out, PATH_MAX, "%s/%llx-%llx-%llx-%llx.%09lx-%llx.%09lx%s%s.copy", folder,
                 (unsigned long long)s->st_dev, (unsigned long long)s->st_ino,
                 (unsigned long long)s->st_size, (unsigned long long)s->st_mtim.tv_sec,
                 (unsigned long)s->st_mtim.tv_nsec, (unsigned long long)s->st_ctim.tv_sec,
                 (unsigned long)s->st_ctim.tv_nsec, guest ? "-" : "", guest ? guest : "");
    }
    return rc;
}

static int copy_content(int from, int to, uint64_t bytes)
{
    char *buffer = malloc(STORE_CHUNK);
    int rc = buffer ? 0 : -ENOMEM;
    while (!rc && bytes) {
        ssize_t n = read(from, buffer, bytes < STORE_CHUNK ? bytes : STORE_CHUNK);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        rc = n < 0 ? -errno : n == 0 ? -ESTALE : 0;
        for (ssize_t at = 0; !rc && at < n;) {
            ssize_t m = write(to, buffer + at, (size_t)(n - at));
            rc = m < 0 && errno != EINTR ? -errno : 0;
            at += m > 0 ? m : 0;
        }
        bytes -= rc ? 0 : (uint64_t)n;
    }
    free(buffer);
    return rc;
}

static int write_file_copy(int from, const struct stat *s, const struct weights_reader *reader,
                           const char *copy, char *error, size_t error_bytes)
{
    char part[PATH_MAX];
    struct stat now;
    int rc = beside(copy, ".part", part);
    int to = rc ? -1 : open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    rc = rc ? rc : to < 0 ? -errno : copy_content(from, to, (uint64_t)s->st_size);
    if (!rc && (fchown(to, (uid_t)-1, reader->group) != 0 || fchmod(to, 0440) != 0 ||
                fsync(to) != 0 || fstat(from, &now) != 0)) {
        rc = -errno;
    }
    if (!rc && (now.st_size != s->st_size || now.st_mtim.tv_sec != s->st_mtim.tv_sec ||
                now.st_mtim.tv_nsec != s->st_mtim.tv_nsec)) {
        rc = -ESTALE;
    }
    rc = !rc && rename(part, copy) != 0 ? -errno : rc;
    if (to >= 0) {
        close(to);
        if (rc) {
            unlink(part);
        }
    }
    return rc ? error_say(error, error_bytes, rc, "the copy %s cannot be made: %s", copy,
                          rc == -ESTALE ? "the file was changed meanwhile" : strerror(-rc))
              : 0;
}

int weights_copy_for(const char *path, const struct weights_reader *reader, char **out_path,
                     char *error, size_t error_bytes)
{
    char copy[PATH_MAX];
    struct stat s, there;
    char *source = realpath(path, NULL);
    int from = source ? open(source, O_RDONLY | O_CLOEXEC) : -1;
    int rc = from < 0 || fstat(from, &s) != 0 ? -errno : 0;
    if (rc) {
        error_say(error, error_bytes, rc, "%s: %s", path, strerror(-rc));
    }
    rc = rc ? rc : name_file_copy(&s, reader->name, copy, error, error_bytes);
    int lock = rc ? -1 : copy_lock(copy, true, error, error_bytes);
    rc = rc ? rc : lock < 0 ? lock : 0;
    if (!rc) {
        bool good = !reader->name && stat(copy, &there) == 0 && there.st_gid == reader->group &&
                    there.st_size == s.st_size;
        rc = good ? 0 : write_file_copy(from, &s, reader, copy, error, error_bytes);
    }
    if (!rc) {
        copy_note_source(copy, source);
        *out_path = strdup(copy);
        rc = *out_path ? 0 : error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    if (lock >= 0) {
        close(lock);
    }
    if (from >= 0) {
        close(from);
    }
    free(source);
    return rc;
}

// ---- which are needed --------------------------------------------------------------------------

// Is the source still what this is a copy of? Without reading it all: a cached hash says so.
static bool is_of_weights(const char *copy, const char *source)
{
    struct weights_file f;
    char error[256], hex[65];
    uint8_t sha256[32];
    if (weights_file_open(source, &f, error, sizeof error) != 0) {
        return false;
    }
    bool known = hash_cache_find(&f, sha256);
    weights_file_close(&f);
    hex_write(sha256, known ? sizeof sha256 : 0, hex);
    return known && strncmp(strrchr(copy, '/') + 1, hex, 64) == 0;
}

// A copy that has a guest's name is needed by that guest alone: it never counts as one of these.
static bool is_of_file(const char *copy, const char *source)
{
    struct stat s;
    char now[PATH_MAX], error[256];
    return stat(source, &s) == 0 && name_file_copy(&s, NULL, now, error, sizeof error) == 0 &&
           strcmp(now, copy) == 0;
}

struct pruning {
    bool remove;
    weights_in_use *in_use;
    void *context;
    struct weights_unneeded *out;
    bool (*is_of)(const char *copy, const char *source);
};

// Under the copy's lock: nobody begins to use it meanwhile.
static void look_at_copy(struct pruning *p, const char *copy)
{
    char source[PATH_MAX], who[256], from[PATH_MAX];
    struct stat s;
    time_t used = 0;
    if (lstat(copy, &s) != 0 || !S_ISREG(s.st_mode)) {
        return;
    }
    bool known = read_source(copy, source, &used);
    used = known ? used : s.st_ctime;
    if (time(NULL) - used < RECENT_SECONDS || (known && p->is_of(copy, source)) ||
        (p->in_use && p->in_use(p->context, copy, who, sizeof who) != 0) ||
        (p->remove && unlink(copy) != 0)) {
        return;
    }
    if (p->remove && beside(copy, ".from", from) == 0) {
        unlink(from);
    }
    p->out->count++;
    p->out->bytes += (uint64_t)s.st_blocks * 512;
}

static int prune_folder(struct pruning *p, const char *name, const char *ending, char *error,
                        size_t error_bytes)
{
    char folder[PATH_MAX], copy[PATH_MAX], unused[256];
    int rc = weights_cache_folder(name, folder, sizeof folder, error, error_bytes);
    DIR *all = rc ? NULL : opendir(folder);
    if (!all) {
        return rc ? rc : error_say(error, error_bytes, -errno, "%s: %s", folder, strerror(errno));
    }
    for (const struct dirent *e; (e = readdir(all)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        int n = snprintf(copy, sizeof copy, "%s/%s", folder, e->d_name);
        int lock = !dot || strcmp(dot, ending) != 0 || n >= (int)sizeof copy
                       ? -1
                       : copy_lock(copy, false, unused, sizeof unused);
        if (lock >= 0) {
            look_at_copy(p, copy);
            close(lock);
        }
    }
    closedir(all);
    return 0;
}

int weights_copies_prune(bool remove, weights_in_use *in_use, void *context,
                         struct weights_unneeded *out, char *error, size_t error_bytes)
{
    struct pruning p = {remove, in_use, context, out, is_of_weights};
    *out = (struct weights_unneeded){0};
    int rc = prune_folder(&p, "models", ".gguf", error, error_bytes);
    p.is_of = is_of_file;
    return rc ? rc : prune_folder(&p, "files", ".copy", error, error_bytes);
}
