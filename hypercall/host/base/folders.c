// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/base/folders.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int written(int n, size_t room)
{
    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

// NULL unless it is a path from the root.
static const char *path_in(const char *variable)
{
    const char *path = getenv(variable);
    return path && path[0] == '/' ? path : NULL;
}

static const struct {
    const char *variable, *below_home, *of_system;
} places[] = {
    [FOLDER_CACHE] = {"XDG_CACHE_HOME", ".cache", "cache"},
    [FOLDER_CONFIG] = {"XDG_CONFIG_HOME", ".config", "config"},
    [FOLDER_DATA] = {"XDG_DATA_HOME", ".local/share", "data"},
    [FOLDER_STATE] = {"XDG_STATE_HOME", ".local/state", "state"},
};

int folder_of_user(enum folder which, char *out, size_t out_bytes)
{
    const char *path = path_in(places[which].variable), *home = path_in("HOME");
    struct passwd entry, *user = NULL;
    char room[4096];
    if (path) {
        return written(snprintf(out, out_bytes, "%s", path), out_bytes);
    }
    if (!home) {
        getpwuid_r(getuid(), &entry, room, sizeof room, &user);
        home = user && user->pw_dir[0] == '/' ? user->pw_dir : NULL;
    }
    return home ? written(snprintf(out, out_bytes, "%s/%s", home, places[which].below_home),
                          out_bytes)
                : -ENOENT;
}

int folder_of_tessera(enum folder which, char *out, size_t out_bytes)
{
    if (geteuid() == 0 && !path_in(places[which].variable)) {
        return written(snprintf(out, out_bytes, FOLDER_OF_SYSTEM "/%s", places[which].of_system),
                       out_bytes);
    }
    int rc = folder_of_user(which, out, out_bytes);
    size_t used = rc ? 0 : strlen(out);
    return rc ? rc : written(snprintf(out + used, out_bytes - used, "/tessera"), out_bytes - used);
}

int folder_of_sockets(char *out, size_t out_bytes)
{
    const char *path = path_in("XDG_RUNTIME_DIR");
    bool root = geteuid() == 0;
    if (root && path && strncmp(path, "/run/user/", 10) == 0) {
        path = NULL;
    }
    return written(path   ? snprintf(out, out_bytes, "%s/tessera", path)
                   : root ? snprintf(out, out_bytes, "/run/tessera-0")
                          : snprintf(out, out_bytes, "/tmp/tessera-%u", (unsigned)getuid()),
                   out_bytes);
}

int folder_make(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    if (written(snprintf(part, sizeof part, "%s", path), sizeof part)) {
        return -ENAMETOOLONG;
    }
    // A folder above may exist and not let us look: the last one decides.
    for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        (void)mkdir(part, mode);
        *slash = '/';
    }
    return mkdir(part, mode) != 0 && errno != EEXIST ? -errno : 0;
}

static mode_t mode_of(const char *path)
{
    size_t n = strlen(FOLDER_OF_SYSTEM);
    if (strncmp(path, FOLDER_OF_SYSTEM, n) != 0 || (path[n] != '/' && path[n] != 0)) {
        return 0700;
    }
    return path[n] ? 0711 : 0755;
}

static int make_passable(const char *path)
{
    mode_t mode = mode_of(path);
    if (mkdir(path, mode) != 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    return mode != 0700 && chmod(path, mode) != 0 ? -errno : 0;
}

int folder_make_passable(const char *path)
{
    char part[PATH_MAX];
    if (written(snprintf(part, sizeof part, "%s", path), sizeof part)) {
        return -ENAMETOOLONG;
    }
    for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        (void)make_passable(part);
        *slash = '/';
    }
    return make_passable(part);
}

int folder_make_own(const char *path, mode_t closed)
{
    struct stat s;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return -errno;
    }
    return lstat(path, &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != geteuid() ||
                   (s.st_mode & closed) != 0
               ? -EPERM
               : 0;
}
