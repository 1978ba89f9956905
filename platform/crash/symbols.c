// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Looking up a function in the table of crash/symbols.h. Reads nothing outside the table even if
// it is damaged: a crash report may be about just that.
#include "platform/crash/symbols.h"

static uint32_t word(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

const char *pf_symbols_find(const void *table, size_t bytes, uint64_t at, uint64_t *into)
{
    const unsigned char *start = table;
    if (bytes < 8) {
        return NULL;
    }
    uint32_t count = word(start);
    if (count == 0 || count > (bytes - 4) / 4) {
        return NULL;
    }
    const unsigned char *offsets = start + 4;
    if (at < word(offsets)) {
        return NULL;
    }
    uint32_t low = 0, high = count; // offsets[low] <= at < offsets[high]
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (word(offsets + 4ul * middle) <= at) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if (low == count - 1) {
        return NULL; // beyond the code
    }
    const unsigned char *name = offsets + 4ul * count, *end = start + bytes;
    for (uint32_t i = 0;; i++) {
        const unsigned char *stop = name;
        while (stop < end && *stop != '\0') {
            stop++;
        }
        if (stop == end) {
            return NULL;
        }
        if (i == low) {
            *into = at - word(offsets + 4ul * low);
            return (const char *)name;
        }
        name = stop + 1;
    }
}
