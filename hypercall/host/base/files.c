// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_ROOM = 4096 };

int file_load_open(int fd, size_t most, char **out, size_t *bytes)
{
    struct stat s;
    size_t used = 0, room = FIRST_ROOM;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size >= FIRST_ROOM) {
        if ((uint64_t)s.st_size > most) {
            return -EFBIG;
        }
        room = (size_t)s.st_size + 2; // one to see its end, one for the NUL
    }
    char *text = malloc(room);
    int rc = text ? 0 : -ENOMEM;
    while (!rc) {
        if (used + 1 == room) {
            char *more = room <= SIZE_MAX / 2 ? realloc(text, room *= 2) : NULL;
            if (!more) {
                rc = -ENOMEM;
                break;
            }
            text = more;
        }
        ssize_t n = read(fd, text + used, room - 1 - used);
        if (n == 0) {
            break;
        }
        rc = n < 0 && errno != EINTR ? -errno : 0;
        used += n > 0 ? (size_t)n : 0;
        rc = used > most ? -EFBIG : rc;
    }
    if (rc) {
        free(text);
        return rc;
    }
    text[used] = 0;
    *out = text;
    *bytes = used;
    return 0;
}

int file_load(const char *path, size_t most, char **out, size_t *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    int rc = file_load_open(fd, most, out, bytes);
    close(fd);
    return rc;
}

int file_write_all(int fd, const void *data, size_t bytes)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = write(fd, from, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        from += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int file_sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;
    if (snprintf(folder, sizeof folder, "%.*s", length, path) >= PATH_MAX) {
        return -ENAMETOOLONG;
    }
    int fd = open(length ? folder : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int write_and_close(int fd, const void *data, size_t bytes, mode_t mode, bool durable)
{
    int rc = file_write_all(fd, data, bytes);
    if (!rc && (fchmod(fd, mode) != 0 || (durable && fsync(fd) != 0))) {
        rc = -errno;
    }
    return close(fd) != 0 && !rc ? -errno : rc;
}

int file_replace(const char *path, const char *temporary, const void *data, size_t bytes,
                 mode_t mode, bool durable)
{
    char chance[PATH_MAX];
    int fd;
    if (temporary) {
        unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    } else {
        if (snprintf(chance, sizeof chance, "%s.XXXXXX", path) >= PATH_MAX) {
            return -ENAMETOOLONG;
        }
        temporary = chance;
        fd = mkostemp(chance, O_CLOEXEC);
    }
    int rc = fd < 0 ? -errno : write_and_close(fd, data, bytes, mode, durable);
    rc = rc ? rc : rename(temporary, path) != 0 ? -errno : 0;
    if (rc && fd >= 0) {
        unlink(temporary);
    } else if (!rc && durable) {
        (void)file_sync_folder(path); // some file systems cannot; the file is whole all the same
    }
    return rc;
}
