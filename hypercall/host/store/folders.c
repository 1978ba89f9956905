// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Folders, and whom they let through.
#include "hypercall/host/store/folders.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static mode_t mode_of(const char *path)
{
    size_t n = strlen(FOLDERS_OF_SYSTEM);
    if (strncmp(path, FOLDERS_OF_SYSTEM, n) != 0 || (path[n] != '/' && path[n] != 0)) {
        return 0700;
    }
    return path[n] ? 0711 : 0755;
}

static int make_one(const char *path)
{
    mode_t mode = mode_of(path);
    if (mkdir(path, mode) != 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    // Whatever the umask: who is to pass through must be able to.
    return mode != 0700 && chmod(path, mode) != 0 ? -errno : 0;
}

int folders_make(const char *path)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        return -ENAMETOOLONG;
    }
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)make_one(part); // one above may exist and not let us look: the last one decides
        *slash = '/';
    }
    return make_one(part);
}
