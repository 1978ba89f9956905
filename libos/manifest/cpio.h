// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reader of cpio archives in the "newc" format, in place. Source: Linux
// Documentation/driver-api/early-userspace/buffer-format.rst.
#ifndef LIBOS_MANIFEST_CPIO_H
#define LIBOS_MANIFEST_CPIO_H

#include <stddef.h>
#include <stdint.h>

struct cpio_entry {
    const char *name; // NUL-terminated, in the archive, without leading "./" and "/"
    const uint8_t *data;
    size_t bytes;
    uint32_t mode;
};
#define CPIO_TYPE_MASK    0170000u
#define CPIO_TYPE_REGULAR 0100000u

// Reads the entry at *offset and moves *offset behind it. 1: *e is filled; 0: end of the archive;
// -EINVAL: damaged at *offset, and *why says how.
int cpio_next(const void *archive, size_t bytes, size_t *offset, struct cpio_entry *e,
              const char **why);

#endif
