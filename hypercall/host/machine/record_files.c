// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where records lie, and how they are read and written.
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/record_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int record_path(const char *name, enum record_kind kind, bool make, char *out, size_t out_bytes,
                char *error, size_t error_bytes)
{
    static const char *const endings[RECORD_KINDS] = {
        [RECORD_READY_STATE] = ".ready", [RECORD_READY_STATE_NEW] = ".ready.new",
        [RECORD_READY] = ".ready.json",  [RECORD_SUSPENDED] = ".suspended.json",
        [RECORD_TIMES] = ".times.json",
    };
    char log[PATH_MAX - 16];
    // The console's log lies in the folder above.
    int rc = console_log_path(name, 0, log, sizeof log, error, error_bytes);
    char *slash = rc ? NULL : strrchr(log, '/');
    if (!slash) {
        return rc ? rc : -EINVAL;
    }
    *slash = 0;
    int n = snprintf(out, out_bytes, "%s/states", log);
    if (make && n > 0 && (size_t)n < out_bytes &&
        ((mkdir(log, 0700) != 0 && errno != EEXIST) ||
         (mkdir(out, 0700) != 0 && errno != EEXIST))) {
        rc = -errno;
        snprintf(error, error_bytes, "%s: cannot be made: %s", out, strerror(-rc));
        return rc;
    }
    n = snprintf(out, out_bytes, "%s/states/%s%s", log, name, endings[kind]);
    if (n < 0 || (size_t)n >= out_bytes) {
        snprintf(error, error_bytes, "the path of the saved state is too long");
        return -ENAMETOOLONG;
    }
    return 0;
}

void record_forget(const char *name)
{
    char path[PATH_MAX], unused[200];
    for (int kind = 0; kind < RECORD_KINDS; kind++) {
        if (record_path(name, (enum record_kind)kind, false, path, sizeof path, unused,
                        sizeof unused) == 0) {
            unlink(path);
        }
    }
}

int record_load(const char *path, size_t most, char **text, size_t *bytes)
{
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    *text = malloc(most + 2);
    *bytes = 0;
    while (*text && *bytes <= most) {
        ssize_t n = read(fd, *text + *bytes, most + 1 - *bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n ? -errno : 0;
            break;
        }
        *bytes += (size_t)n;
    }
    close(fd);
    rc = !*text ? -ENOMEM : *bytes > most ? -EBADMSG : rc;
    if (rc) {
        free(*text);
        return rc;
    }
    (*text)[*bytes] = 0;
    return 0;
}

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n ? -errno : -EIO;
        }
        text += n;
        bytes -= (size_t)n;
    }
    return fsync(fd) != 0 ? -errno : 0;
}

int record_store(const char *path, json_t *o, char *error, size_t error_bytes)
{
    char part[PATH_MAX + 24];
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    snprintf(part, sizeof part, "%s.%d.part", path, (int)gettid());
    int fd = text ? open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    int rc = !text ? -ENOMEM : fd < 0 ? -errno : write_all(fd, text, strlen(text));
    if (fd >= 0) {
        close(fd);
        rc = rc ? rc : rename(part, path) != 0 ? -errno : 0;
        if (rc) {
            unlink(part);
        }
    }
    free(text);
    if (rc) {
        snprintf(error, error_bytes, "%s: cannot be written: %s", path, strerror(-rc));
    }
    return rc;
}
