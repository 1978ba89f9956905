// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The endpoint's folder: where it is, and writing files into it.
#include "hypercall/host/fleet/proxy_private.h"

#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/machine/tensord.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// HAProxy binds a socket under PATH.PID.tmp first; its own limit is below the system's 107.
enum { LONGEST_FOLDER = 70 };

static int fail(char *error, size_t error_bytes, int rc, const char *what, const char *why)
{
    snprintf(error, error_bytes, "%s: %s", what, why);
    return rc;
}

static int make_folder(const char *path, char *error, size_t error_bytes)
{
    int rc = folder_make_own(path, 022);
    return rc ? fail(error, error_bytes, rc, path,
                     rc == -EPERM ? "is no folder of this user's alone" : strerror(-rc))
              : 0;
}

// "/fleet", or "/fleet-HEX" of a connection other than the usual one.
static int name_connection(const char *uri, char out[24])
{
    char sha256[SHA256_TEXT];
    int rc = sha256_bytes_text(uri, strlen(uri), sha256);
    snprintf(out, 24, "/fleet-%.8s", rc ? "" : sha256);
    if (strcmp(uri, "qemu:///session") == 0) {
        out[sizeof "/fleet" - 1] = 0;
    }
    return rc;
}

int proxy_folder(const char *uri, const char *fleet, char *out, size_t out_bytes, char *error,
                 size_t error_bytes)
{
    char part[24];
    int rc = tensord_folder(out, out_bytes, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = name_connection(uri, part);
    if (rc) {
        return fail(error, error_bytes, rc, uri, "cannot be hashed");
    }
    size_t n = strlen(out);
    // The paths stand in a configuration whose words end at blanks, quotes and brackets.
    if (out[strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:")]) {
        return fail(error, error_bytes, -EINVAL, out,
                    "this path has characters that HAProxy's configuration cannot hold; set "
                    "XDG_RUNTIME_DIR to another");
    }
    size_t all = n + strlen(part) + 2 + strlen(fleet);
    if (all > LONGEST_FOLDER || all > out_bytes) {
        return fail(error, error_bytes, -ENAMETOOLONG, out,
                    "this path is too long for the sockets of a fleet's endpoint; set "
                    "XDG_RUNTIME_DIR to a shorter one");
    }
    strcpy(out + n, part);
    rc = make_folder(out, error, error_bytes);
    if (rc == 0) {
        n = strlen(out);
        out[n] = '/';
        strcpy(out + n + 1, fleet);
        rc = make_folder(out, error, error_bytes);
    }
    return rc;
}

void proxy_wake_path(const char *folder, const char *service, unsigned slot, char *out,
                     size_t out_bytes)
{
    char backend[PROXY_BACKEND];
    char hash[SHA256_TEXT];
    proxy_backend(service, slot, backend);
    sha256_bytes_text(backend, strlen(backend), hash);
    snprintf(out, out_bytes, "%s/wake-%.8s", folder, hash);
}

static bool is_same(const char *path, const char *data, size_t bytes)
{
    struct stat s;
    char *there;
    size_t there_bytes;
    if (stat(path, &s) != 0 || (s.st_mode & 0777) != 0600 ||
        file_load(path, bytes, &there, &there_bytes) != 0) {
        return false;
    }
    bool same = there_bytes == bytes && memcmp(there, data, bytes) == 0;
    free(there);
    return same;
}

static int write_file(const char *path, const char *data, size_t bytes, char *error,
                      size_t error_bytes)
{
    char next[FLEET_PATH];
    if (is_same(path, data, bytes)) {
        return 0;
    }
    snprintf(next, sizeof next, "%s.new", path);
    int rc = file_replace(path, next, data, bytes, 0600, false);
    return rc ? fail(error, error_bytes, rc, path, strerror(-rc)) : 0;
}

int proxy_files_write(const struct proxy_files *f, const char *folder, char *error,
                      size_t error_bytes)
{
    for (size_t i = 0; i < PROXY_FILES; i++) {
        char path[FLEET_PATH - 8];
        snprintf(path, sizeof path, "%s/%s", folder, proxy_file_basename((enum proxy_file_name)i));
        int rc = write_file(path, f->file[i].data, f->file[i].bytes, error, error_bytes);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
