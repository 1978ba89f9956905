// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Programs, files and packages that a host needs.
#include "hypercall/host/hardware/private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool hardware_program(const char *root, const char *const *names, char out[PATH_MAX])
{
    static const char *const folders[] = {"/usr/local/bin",  "/usr/bin",  "/bin",
                                          "/usr/local/sbin", "/usr/sbin", "/sbin"};
    for (; *names; names++) {
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            struct stat s;
            if (hw_path(out, root, "%s/%s", folders[i], *names) && stat(out, &s) == 0 &&
                S_ISREG(s.st_mode) && access(out, X_OK) == 0) {
                return true;
            }
        }
    }
    out[0] = 0;
    return false;
}

const char *hardware_first(const char *root, const char *const *paths)
{
    char path[PATH_MAX];
    for (; *paths; paths++) {
        if (hw_path(path, root, "%s", *paths) && access(path, F_OK) == 0) {
            return *paths;
        }
    }
    return NULL;
}

// Paragraphs of "Package: NAME", "Status: … installed", "Version: …" (deb-status, dpkg(1)).
bool hardware_package(const char *root, const char *name, char *version, size_t version_bytes)
{
    char path[PATH_MAX];
    bool wanted = false, installed = false, found = false;
    char *text = hw_path(path, root, "/var/lib/dpkg/status") ? hw_read(path) : NULL, *rest = text;
    while (rest && !found) {
        const char *line = strsep(&rest, "\n");
        if (strncmp(line, "Package: ", 9) == 0) {
            wanted = strcmp(line + 9, name) == 0;
            installed = false;
        } else if (wanted && strncmp(line, "Status: ", 8) == 0) {
            installed = strstr(line, " ok installed") != NULL;
        } else if (wanted && installed && strncmp(line, "Version: ", 9) == 0) {
            snprintf(version, version_bytes, "%s", line + 9);
            found = true;
        }
    }
    free(text);
    return found;
}
