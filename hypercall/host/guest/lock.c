// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What runs at the same time take one after the other: bytes of one file that nobody reads, locked
// by open file descriptions (fcntl(2)), so that the end of a run, however it comes, lets go.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Byte 0 is the lock of all; a port's is at its number, names begin behind the ports.
enum { OF_NAMES = 1 << 16, LOCK_SECONDS = 60 };

static int open_file(char path[PATH_MAX], char *error, size_t error_bytes)
{
    // No guest's name begins with a dot.
    int rc = console_log_path(".lock", 1, path, PATH_MAX, error, error_bytes);
    int fd = rc ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (!rc && fd < 0) {
        rc = -errno;
        guest_refuse(error, error_bytes, rc, "%s: %s", path, strerror(-rc));
    }
    return rc ? rc : fd;
}

static bool lock_byte(int fd, off_t at)
{
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &f) == 0;
}

int guest_lock(char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    int fd = open_file(path, error, error_bytes);
    uint64_t until = guest_now_ms() + LOCK_SECONDS * 1000;
    while (fd >= 0 && !lock_byte(fd, 0)) {
        int rc = -errno;
        bool held = rc == -EAGAIN || rc == -EACCES;
        if (held && guest_now_ms() < until) {
            guest_sleep_ms(2);
            continue;
        }
        close(fd);
        return held ? guest_refuse(error, error_bytes, -EBUSY,
                                   "another tessera holds %s for more than %d seconds", path,
                                   LOCK_SECONDS)
                    : guest_refuse(error, error_bytes, rc, "%s: cannot be locked: %s", path,
                                   strerror(-rc));
    }
    return fd;
}

int guest_claims_open(char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    return open_file(path, error, error_bytes);
}

bool guest_claim_port(int claims, uint32_t port)
{
    return lock_byte(claims, (off_t)port);
}

bool guest_claim_name(int claims, const char *name)
{
    uint64_t hash = 14695981039346656037u; // FNV-1a; two names that meet wait for each other
    for (; *name; name++) {
        hash = (hash ^ (uint8_t)*name) * 1099511628211u;
    }
    return lock_byte(claims, OF_NAMES + (off_t)(hash >> 16));
}
