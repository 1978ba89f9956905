// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The logs of guests' consoles.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, TAIL = 256 << 10 };

int console_log_path(const char *name, int make, char *out, size_t out_bytes, char *error,
                     size_t error_bytes)
{
    int rc = folder_of_tessera(FOLDER_STATE, out, out_bytes);
    if (rc == -ENOENT) {
        return error_say(error, error_bytes, rc,
                         "no place for the console's log: neither XDG_STATE_HOME nor HOME is set");
    }
    size_t folder = rc ? 0 : strlen(out);
    if (rc ||
        (size_t)snprintf(out + folder, out_bytes - folder, "/%s.log", name) >= out_bytes - folder) {
        return error_say(error, error_bytes, -ENAMETOOLONG, "the console log's path is too long");
    }
    if (!make) {
        return 0;
    }
    out[folder] = 0;
    rc = folder_make_passable(out);
    out[folder] = '/';
    int fd = rc ? -1 : open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = rc ? rc : -errno;
        return error_say(
            error, error_bytes, rc,
            "the console's log %s cannot be made: %s (XDG_STATE_HOME names another place)", out,
            strerror(-rc));
    }
    close(fd);
    return 0;
}

// Bytes of the UTF-8 character that begins at c and ends before `left`, 0: none that may be
// printed.
static size_t printable(const unsigned char *c, size_t left)
{
    if (c[0] < 0x80) {
        return c[0] == '\n' || c[0] == '\t' || (c[0] >= 0x20 && c[0] != 0x7f);
    }
    size_t n = c[0] >= 0xc2 && c[0] < 0xe0   ? 2
               : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
               : c[0] >= 0xf0 && c[0] < 0xf5 ? 4
                                             : 0;
    if (n == 0 || n > left || (c[0] == 0xc2 && c[1] < 0xa0)) { // U+0080 to U+009F are controls
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

void console_print(FILE *out, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count;) {
        size_t n = printable((const unsigned char *)bytes + i, count - i);
        if (n) {
            fwrite(bytes + i, 1, n, out);
        } else if (bytes[i] != '\r') {
            fputc('?', out);
        }
        i += n ? n : 1;
    }
}

// Where the last `lines` lines begin.
static uint64_t find_tail(int fd, uint64_t size, unsigned lines)
{
    uint64_t from = size > TAIL ? size - TAIL : 0;
    char *data = malloc(TAIL);
    ssize_t n = data ? pread(fd, data, TAIL, (off_t)from) : 0;
    ssize_t at = n;
    for (unsigned seen = 0; at > 0; at--) {
        // The end of the last line ends nothing before it.
        if (data[at - 1] == '\n' && at != n && ++seen == lines) {
            break;
        }
    }
    free(data);
    return from + (uint64_t)(at > 0 ? at : 0);
}

int console_print_file(FILE *out, const char *path, unsigned lines, uint64_t *at)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
    if (fd < 0 || fstat(fd, &s) != 0) {
        rc = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    uint64_t size = (uint64_t)s.st_size;
    if (size < *at) {
        *at = 0; // begun anew
    }
    if (lines) {
        *at = find_tail(fd, size, lines);
    }
    char *data = malloc(CHUNK);
    rc = data ? 0 : -ENOMEM;
    while (!rc && *at < size) {
        ssize_t n = pread(fd, data, CHUNK, (off_t)*at);
        if (n <= 0) {
            rc = n < 0 ? -errno : 0;
            break;
        }
        console_print(out, data, (size_t)n);
        *at += (uint64_t)n;
    }
    free(data);
    close(fd);
    return rc;
}
