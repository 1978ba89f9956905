// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which guest needs a file of the store: also one that is off and maps nothing now. libvirt's
// definitions are read as files, so that no daemon has to run for it.
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/tool/pkg.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { DEFINITION_MOST = 4 << 20 };

static bool names_file(const char *definition, const char *path)
{
    char *text;
    size_t bytes;
    bool found = false;
    if (file_load(definition, DEFINITION_MOST, &text, &bytes) == 0) {
        found = strstr(text, path) != NULL;
        free(text);
    }
    return found;
}

int pkg_in_use(void *unused, const char *blob_path, char *who, size_t who_bytes)
{
    char config[PATH_MAX], own[PATH_MAX + 32];
    glob_t found = {0};
    (void)unused;
    glob("/etc/libvirt/qemu/*.xml", GLOB_NOSORT, NULL, &found);
    if (folder_of_user(FOLDER_CONFIG, config, sizeof config) == 0) {
        snprintf(own, sizeof own, "%s/libvirt/qemu/*.xml", config);
        glob(own, GLOB_NOSORT | GLOB_APPEND, NULL, &found);
    }
    // The hash in the name is what makes it unmistakable, also where XML writes the folders anew.
    const char *slash = strrchr(blob_path, '/'), *file = slash ? slash + 1 : blob_path;
    int rc = 0;
    for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
        if (names_file(found.gl_pathv[i], file)) {
            const char *name = strrchr(found.gl_pathv[i], '/') + 1;
            size_t length = strlen(name) - strlen(".xml");
            snprintf(who, who_bytes, "guest '%.*s'", (int)length, name);
            rc = -EBUSY;
        }
    }
    globfree(&found);
    return rc;
}
