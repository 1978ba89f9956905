// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which guest needs a file of the store: also one that is off and maps nothing now. libvirt's
// definitions are read as files, so that no daemon has to run for it; a system's, which others may
// not read, are asked for.
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/packages/install.h"
#include "hypercall/host/tool/in_time.h"
#include "hypercall/host/tool/pkg.h"

#include <errno.h>
#include <glob.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

enum { DEFINITION_MOST = 4 << 20 };

static int names_file(const char *definition, const char *path)
{
    char *text;
    size_t bytes;
    int rc = file_load(definition, DEFINITION_MOST, &text, &bytes);
    if (rc) {
        return rc == -EACCES ? rc : 0;
    }
    int found = strstr(text, path) != NULL;
    free(text);
    return found;
}

static void quiet(void *context, virErrorPtr e)
{
    (void)context;
    (void)e;
}

static int open_to_read(const char *uri, virConnectPtr *out, char *error, size_t error_bytes)
{
    (void)error;
    (void)error_bytes;
    *out = virConnectOpenReadOnly(uri);
    return *out ? 0 : -EIO;
}

// Asked once, for all files.
static virConnectPtr system_libvirt(void)
{
    static virConnectPtr connection;
    static bool was_asked;
    char unused[200];
    if (!was_asked) {
        was_asked = true;
        virSetErrorFunc(NULL, quiet);
        if (connect_in_time(open_to_read, "qemu:///system", &connection, unused, sizeof unused)) {
            connection = NULL;
        }
    }
    return connection;
}

// What libvirt says, where its files are closed to this user. Not known is in use.
static int ask_system(const char *file, char *who, size_t who_bytes)
{
    virDomainPtr *all = NULL;
    virConnectPtr c = system_libvirt();
    int rc = 0, count = c ? virConnectListAllDomains(c, &all, 0) : -1;
    if (count < 0) {
        snprintf(
            who, who_bytes,
            "a guest of qemu:///system, perhaps: this user may not read what is defined there");
        rc = -EBUSY;
    }
    for (int i = 0; i < count; i++) {
        char *xml = rc ? NULL : virDomainGetXMLDesc(all[i], 0);
        const virError *e = xml || rc ? NULL : virGetLastError();
        if (!rc && (xml ? strstr(xml, file) != NULL : !e || e->code != VIR_ERR_NO_DOMAIN)) {
            snprintf(who, who_bytes, "guest '%s'%s", virDomainGetName(all[i]),
                     xml ? "" : ", perhaps: its definition cannot be read");
            rc = -EBUSY;
        }
        free(xml);
        virDomainFree(all[i]);
    }
    free(all);
    return rc;
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
    bool closed = false;
    for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
        int names = names_file(found.gl_pathv[i], file);
        closed |= names < 0;
        if (names > 0) {
            const char *name = strrchr(found.gl_pathv[i], '/') + 1;
            size_t length = strlen(name) - strlen(".xml");
            snprintf(who, who_bytes, "guest '%.*s'", (int)length, name);
            rc = -EBUSY;
        }
    }
    globfree(&found);
    if (!rc && closed) {
        rc = ask_system(file, who, who_bytes);
    }
    return rc;
}

int pkg_copy_in_use(void *unused, const char *path, char *who, size_t who_bytes)
{
    char comm[32];
    int pid = pk_mapped_by(path, comm);
    if (pid) {
        snprintf(who, who_bytes, "process %d (%s)", pid, comm);
        return -EBUSY;
    }
    return pkg_in_use(unused, path, who, who_bytes);
}
