// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/base/folders.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
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

int folder_of_user(enum folder which, char *out, size_t out_bytes)
{
    static const struct {
        const char *variable, *below_home;
    } places[] = {
        [FOLDER_CACHE] = {"XDG_CACHE_HOME", ".cache"},
        [FOLDER_CONFIG] = {"XDG_CONFIG_HOME", ".config"},
        [FOLDER_DATA] = {"XDG_DATA_HOME", ".local/share"},
        [FOLDER_STATE] = {"XDG_STATE_HOME", ".local/state"},
    };
    const char *path = path_in(places[which].variable), *home = path_in("HOME");
    if (path) {
        return written(snprintf(out, out_bytes, "%s", path), out_bytes);
    }
    if (!home) {
        const struct passwd *user = getpwuid(getuid());
        home = user && user->pw_dir[0] == '/' ? user->pw_dir : NULL;
    }
    return home ? written(snprintf(out, out_bytes, "%s/%s", home, places[which].below_home),
                          out_bytes)
                : -ENOENT;
}

int folder_of_sockets(char *out, size_t out_bytes)
{
    const char *path = path_in("XDG_RUNTIME_DIR");
    return written(path ? snprintf(out, out_bytes, "%s/tessera", path)
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
