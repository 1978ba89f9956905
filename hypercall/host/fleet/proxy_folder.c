// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The endpoint's folder: where it is, and writing files into it.
#include "hypercall/host/fleet/proxy_private.h"

#include "hypercall/host/machine/tensord.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
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
    struct stat s;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return fail(error, error_bytes, -errno, path, strerror(errno));
    }
    if (lstat(path, &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != geteuid() ||
        (s.st_mode & 022) != 0) {
        return fail(error, error_bytes, -EPERM, path, "is no folder of this user's alone");
    }
    return 0;
}

// "/fleet", or "/fleet-HEX" of a connection other than the usual one.
static void name_connection(const char *uri, char out[24])
{
    uint8_t sha256[32];
    mbedtls_sha256_ret((const uint8_t *)uri, strlen(uri), sha256, 0);
    snprintf(out, 24, "/fleet-%02x%02x%02x%02x", sha256[0], sha256[1], sha256[2], sha256[3]);
    if (strcmp(uri, "qemu:///session") == 0) {
        out[sizeof "/fleet" - 1] = 0;
    }
}

int proxy_folder(const char *uri, const char *fleet, char *out, size_t out_bytes, char *error,
                 size_t error_bytes)
{
    char part[24];
    name_connection(uri, part);
    int rc = tensord_folder(out, out_bytes, error, error_bytes);
    size_t n = rc ? 0 : strlen(out);
    if (rc) {
        return rc;
    }
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
    uint8_t sha256[32];
    proxy_backend(service, slot, backend);
    mbedtls_sha256_ret((const uint8_t *)backend, strlen(backend), sha256, 0);
    snprintf(out, out_bytes, "%s/wake-%02x%02x%02x%02x", folder, sha256[0], sha256[1], sha256[2],
             sha256[3]);
}

static bool is_same(const char *path, const char *data, size_t bytes)
{
    struct stat s;
    FILE *f = fopen(path, "rbe");
    char *there = f ? malloc(bytes + 1) : NULL;
    bool same = there && fstat(fileno(f), &s) == 0 && (s.st_mode & 0777) == 0600 &&
                fread(there, 1, bytes + 1, f) == bytes && memcmp(there, data, bytes) == 0;
    free(there);
    if (f) {
        fclose(f);
    }
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
    unlink(next);
    int fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : 0;
    for (size_t done = 0; rc == 0 && done < bytes;) {
        ssize_t n = write(fd, data + done, bytes - done);
        rc = n < 0 && errno != EINTR ? -errno : 0;
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && close(fd) != 0 && rc == 0) {
        rc = -errno;
    }
    if (rc == 0 && rename(next, path) != 0) {
        rc = -errno;
    }
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
