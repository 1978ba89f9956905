// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys in files; see key.h.
#include "hypercall/host/machine/key.h"
#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE "/tessera/keys/"
enum { HASH_DIGITS = 8 };

// ---- where -------------------------------------------------------------------------------------

int key_folder(char *out, size_t out_bytes, char *error, size_t error_bytes)
{
    // The console's log lies in the folder above.
    int rc = console_log_path("any", 0, out, out_bytes, error, error_bytes);
    char *slash = rc ? NULL : strrchr(out, '/');
    if (!rc && (!slash || (size_t)(slash - out) + sizeof "/keys" > out_bytes)) {
        snprintf(error, error_bytes, "the state folder's path is too long");
        rc = -ENAMETOOLONG;
    }
    if (!rc) {
        strcpy(slash, "/keys");
    }
    return rc;
}

int key_path(const char *name, const char *uri, char *out, size_t out_bytes, char *error,
             size_t error_bytes)
{
    char folder[PATH_MAX - 80];
    uint32_t hash = 0x811c9dc5u; // FNV-1a
    for (const char *c = uri; *c; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x01000193u;
    }
    int rc = key_folder(folder, sizeof folder, error, error_bytes);
    if (!rc && snprintf(out, out_bytes, "%s/%s-%08x.key", folder, name, hash) >= (int)out_bytes) {
        snprintf(error, error_bytes, "the path of the key's file is too long");
        rc = -ENAMETOOLONG;
    }
    return rc;
}

bool key_path_is_of(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t length = strlen(name), place = sizeof PLACE - 1;
    if (path[0] != '/' || !slash || (size_t)(slash + 1 - path) < place ||
        strncmp(slash + 1 - place, PLACE, place) != 0 || strstr(path, "/../")) {
        return false;
    }
    const char *file = slash + 1;
    return strncmp(file, name, length) == 0 && file[length] == '-' &&
           strspn(file + length + 1, "0123456789abcdef") == HASH_DIGITS &&
           strcmp(file + length + 1 + HASH_DIGITS, ".key") == 0;
}

// ---- files -------------------------------------------------------------------------------------

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n ? -errno : -EIO;
        }
        text += n;
        bytes -= (size_t)n;
    }
    return fsync(fd) != 0 ? -errno : 0;
}

static int make_folders(const char *path)
{
    char folder[PATH_MAX];
    int rc = 0;
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0; // those above may not let us look: the last one counts
        rc = mkdir(folder, 0700) != 0 && errno != EEXIST ? -errno : 0;
        *slash = '/';
    }
    return rc;
}

int key_write(const char *path, const char *text, char *error, size_t error_bytes)
{
    char part[PATH_MAX + 24];
    snprintf(part, sizeof part, "%s.%d.part", path, (int)getpid());
    int rc = make_folders(path);
    unlink(part);
    int fd = rc ? -1 : open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    rc = rc ? rc : fd < 0 ? -errno : write_all(fd, text, strlen(text));
    if (fd >= 0) {
        close(fd);
        rc = rc ? rc : rename(part, path) != 0 ? -errno : 0;
        if (rc) {
            unlink(part);
        }
    }
    if (rc) {
        snprintf(error, error_bytes,
                 "the key's file %s cannot be written: %s (XDG_STATE_HOME names another place)",
                 path, strerror(-rc));
    }
    return rc;
}

int key_read(const char *path, const char *name, char *out, size_t room)
{
    struct stat s;
    size_t have = 0;
    out[0] = 0;
    if (!key_path_is_of(path, name)) {
        return -EPERM;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    int rc = fstat(fd, &s) != 0                                                 ? -errno
             : !S_ISREG(s.st_mode) || (s.st_uid != geteuid() && geteuid() != 0) ? -EPERM
                                                                                : 0;
    while (!rc && have < room) {
        ssize_t n = read(fd, out + have, room - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n ? -errno : 0;
            break;
        }
        have += (size_t)n;
    }
    close(fd);
    rc = rc ? rc : have == room ? -EFBIG : memchr(out, 0, have) ? -EINVAL : 0;
    out[rc ? 0 : have] = 0;
    return rc;
}

void key_set(const char *text, struct machine_facts *facts)
{
    size_t n = strlen(text);
    n -= n && text[n - 1] == '\n';
    facts->key[0] = 0;
    if (n < sizeof facts->key) {
        memcpy(facts->key, text, n);
        facts->key[n] = 0;
    }
    if (!machine_key_is_valid(facts->key)) {
        facts->key[0] = 0;
    }
}

void key_take(const char *name, struct machine_facts *facts)
{
    char text[MACHINE_KEY + 1];
    if (facts->key_file[0] && key_read(facts->key_file, name, text, sizeof text) == 0) {
        key_set(text, facts);
    }
}

void key_forget(const char *path, const char *name)
{
    if (key_path_is_of(path, name)) {
        unlink(path);
    }
}
