// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys in files; see key.h.
#include "hypercall/host/machine/key.h"
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE           "/tessera/keys/"
#define PLACE_OF_SYSTEM FOLDER_OF_SYSTEM "/state/keys/"
enum { HASH_DIGITS = 8 };

// ---- where -------------------------------------------------------------------------------------

int key_folder(char *out, size_t out_bytes, char *error, size_t error_bytes)
{
    int rc = folder_of_tessera(FOLDER_STATE, out, out_bytes);
    size_t used = rc ? 0 : strlen(out);
    if (!rc && snprintf(out + used, out_bytes - used, "/keys") >= (int)(out_bytes - used)) {
        rc = -ENAMETOOLONG;
    }
    return rc == -ENOENT ? error_say(error, error_bytes, rc,
                                     "no place for keys: neither XDG_STATE_HOME nor HOME is set")
           : rc          ? error_say(error, error_bytes, rc, "the state folder's path is too long")
                         : 0;
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
        return error_say(error, error_bytes, -ENAMETOOLONG,
                         "the path of the key's file is too long");
    }
    return rc;
}

// Of a guest that was sent here from another machine (remote/key.c).
static bool is_sent(const char *path, const char *file, const char *name)
{
    static const char place[] = "/tessera/images/";
    size_t folder = (size_t)(file - path), n = sizeof place - 1;
    return folder >= n && strncmp(file - n, place, n) == 0 &&
           strncmp(file, name, strlen(name)) == 0 && strcmp(file + strlen(name), ".api.key") == 0;
}

static bool is_place(const char *path, size_t folder_bytes)
{
    static const char system[] = PLACE_OF_SYSTEM;
    size_t place = sizeof PLACE - 1;
    return (folder_bytes == sizeof system - 1 && strncmp(path, system, folder_bytes) == 0) ||
           (folder_bytes >= place && strncmp(path + folder_bytes - place, PLACE, place) == 0);
}

bool key_path_is_of(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t length = strlen(name);
    if (path[0] != '/' || strstr(path, "/../")) {
        return false;
    }
    if (is_sent(path, slash + 1, name)) {
        return true;
    }
    if (!is_place(path, (size_t)(slash + 1 - path))) {
        return false;
    }
    const char *file = slash + 1;
    return strncmp(file, name, length) == 0 && file[length] == '-' &&
           strspn(file + length + 1, "0123456789abcdef") == HASH_DIGITS &&
           strcmp(file + length + 1 + HASH_DIGITS, ".key") == 0;
}

// ---- files -------------------------------------------------------------------------------------

int key_write(const char *path, const char *text, char *error, size_t error_bytes)
{
    char folder[PATH_MAX], part[PATH_MAX + 24];
    // Threads and processes of one user may write at the same time; `doctor` knows the ending.
    snprintf(part, sizeof part, "%s.%d.part", path, (int)gettid());
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    int rc = folder_make_passable(folder);
    rc = rc ? rc : file_replace(path, part, text, strlen(text), 0600, true);
    return rc ? error_say(error, error_bytes, rc,
                          "the key's file %s cannot be written: %s (XDG_STATE_HOME names another "
                          "place)",
                          path, strerror(-rc))
              : 0;
}

int key_read(const char *path, const char *name, char *out, size_t room)
{
    struct stat s;
    char *text = NULL;
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
    rc = rc ? rc : file_load_open(fd, room - 1, &text, &have);
    close(fd);
    rc = rc ? rc : memchr(text, 0, have) ? -EINVAL : 0;
    if (!rc) {
        memcpy(out, text, have + 1);
    }
    free(text);
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
