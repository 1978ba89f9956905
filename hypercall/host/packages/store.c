// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where the store is, its folders, its messages.
#include "hypercall/host/base/folders.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static const char system_root[] = FOLDER_OF_SYSTEM "/models";

int pk_fail(struct packages *p, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->error, sizeof p->error, format, args);
    va_end(args);
    return rc;
}

void pk_say(const struct packages *p, const char *format, ...)
{
    char line[1400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (p->say) {
        p->say(p->say_context, line);
    }
}

int pk_path(struct packages *p, char out[PATH_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = snprintf(out, PATH_MAX, "%s/", p->root);
    int m = vsnprintf(out + n, (size_t)(PATH_MAX - n), format, args);
    va_end(args);
    return m < 0 || m >= PATH_MAX - n
               ? pk_fail(p, -ENAMETOOLONG, "a path in %s would be too long", p->root)
               : 0;
}

static int find_root(struct packages *p)
{
    const char *store = getenv("TESSERA_STORE");
    char folder[PATH_MAX];
    int n;
    if (store && store[0]) {
        if (store[0] != '/') {
            return pk_fail(p, -EINVAL, "TESSERA_STORE is '%s', not a path from /", store);
        }
        n = snprintf(p->root, sizeof p->root, "%s", store);
    } else if (geteuid() == 0) {
        n = snprintf(p->root, sizeof p->root, "%s", system_root);
    } else {
        int rc = folder_of_user(FOLDER_DATA, folder, sizeof folder);
        if (rc == -ENOENT) {
            return pk_fail(p, rc,
                           "no place for models: none of TESSERA_STORE, XDG_DATA_HOME and HOME is "
                           "set");
        }
        n = rc ? rc : snprintf(p->root, sizeof p->root, "%s/tessera/models", folder);
    }
    if (n < 0 || (size_t)n >= sizeof p->root) {
        return pk_fail(p, -ENAMETOOLONG, "the model store's path is too long");
    }
    return 0;
}

int packages_open(struct packages *p, bool make)
{
    static const char *const folders[] = {"blobs", "names", "partial"};
    int rc = find_root(p);
    // The folder of all that QEMU's user has to reach, not only of the store: whatever the umask.
    // One that cannot be made is told below.
    if (!rc && make && strcmp(p->root, system_root) == 0) {
        (void)folder_make_passable(FOLDER_OF_SYSTEM);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders && make && !rc; i++) {
        char path[PATH_MAX];
        rc = pk_path(p, path, "%s", folders[i]);
        // QEMU's own user must be able to read what the system's libvirt runs.
        if (!rc && (rc = folder_make(path, 0755))) {
            pk_fail(p, rc,
                    "the model store's folder %s cannot be made: %s (TESSERA_STORE names another "
                    "place)",
                    path, strerror(-rc));
        }
    }
    return rc;
}

int packages_blob_path(struct packages *p, const char *blob, char out[PATH_MAX])
{
    return pk_path(p, out, "blobs/sha256-%s.gguf", blob);
}

int packages_resolve(const char *name, char path[PATH_MAX], char *error, size_t error_bytes)
{
    struct packages p = {0};
    struct packages_entry e;
    int rc = packages_name_is_valid(name) ? packages_open(&p, false) : -ENOENT;
    if (!rc) {
        rc = packages_find(&p, name, &e);
    }
    if (rc == -ENOENT && packages_name_is_valid(name) && strcmp(p.root, system_root) != 0 &&
        !getenv("TESSERA_STORE")) {
        strcpy(p.root, system_root);
        rc = packages_find(&p, name, &e);
    }
    if (!rc) {
        rc = packages_blob_path(&p, e.blob, path);
    }
    if (!rc && access(path, R_OK) != 0) {
        // Not ENOENT: a name that is there and does not work must not look like none.
        rc = pk_fail(&p, errno == ENOENT ? -EBADMSG : -errno,
                     "the installed model '%s': its file %s: %s (`tessera pkg install` again mends "
                     "it)",
                     name, path, strerror(errno));
    }
    snprintf(error, error_bytes, "%s", rc && rc != -ENOENT ? p.error : "");
    if (rc == -ENOENT) {
        snprintf(error, error_bytes,
                 "'%s' is neither a file nor an installed model (`tessera pkg "
                 "list` shows those)",
                 name);
    }
    return rc;
}
