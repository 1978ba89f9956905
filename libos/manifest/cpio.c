// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// cpio "newc": a 110-byte header of eight-digit hexadecimal fields, the name, the data, each
// padded to four bytes. Every length is checked against what is left of the archive.
#include "libos/manifest/cpio.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { HEADER = 110, FIELD = 8, FIELD_MODE = 1, FIELD_SIZE = 6, FIELD_NAME_SIZE = 11 };
#define MAX_NAME 4096u

static bool field(const uint8_t *header, unsigned index, uint32_t *value)
{
    const uint8_t *at = header + 6 + index * FIELD;
    *value = 0;
    for (unsigned i = 0; i < FIELD; i++) {
        uint8_t c = at[i];
        unsigned digit;
        if (c >= '0' && c <= '9') {
            digit = c - '0';
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = (c | 0x20u) - 'a' + 10;
        } else {
            return false;
        }
        *value = *value << 4 | digit;
    }
    return true;
}

static int damaged(const char **why, const char *how)
{
    *why = how;
    return -EINVAL;
}

int cpio_next(const void *archive, size_t bytes, size_t *offset, struct cpio_entry *e,
              const char **why)
{
    size_t at = *offset;
    uint32_t name_bytes, size;
    if (at > bytes || bytes - at < HEADER) {
        return damaged(why, "ends without a trailer");
    }
    const uint8_t *header = (const uint8_t *)archive + at;
    if (memcmp(header, "070701", 6) != 0) {
        return damaged(why, "no newc header (070701)");
    }
    if (!field(header, FIELD_MODE, &e->mode) || !field(header, FIELD_SIZE, &size) ||
        !field(header, FIELD_NAME_SIZE, &name_bytes)) {
        return damaged(why, "a header field is not hexadecimal");
    }
    at += HEADER;
    if (name_bytes == 0 || name_bytes > MAX_NAME || name_bytes > bytes - at) {
        return damaged(why, "name length out of range");
    }
    const char *name = (const char *)archive + at;
    if (memchr(name, 0, name_bytes) != name + name_bytes - 1) {
        return damaged(why, "name is not terminated");
    }
    // Offsets count from the archive's start; the last padding may be cut off.
    at = (at + name_bytes + 3) & ~(size_t)3;
    if (at > bytes || size > bytes - at) {
        return damaged(why, "data goes past the end");
    }
    if (strcmp(name, "TRAILER!!!") == 0) {
        return 0;
    }
    e->data = (const uint8_t *)archive + at;
    e->bytes = size;
    while (name[0] == '/' || (name[0] == '.' && name[1] == '/')) {
        name += name[0] == '/' ? 1 : 2;
    }
    e->name = name;
    at = (at + size + 3) & ~(size_t)3;
    *offset = at < bytes ? at : bytes;
    return 1;
}
