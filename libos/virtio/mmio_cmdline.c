// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The parser behind mmio_cmdline.h.
#include "libos/virtio/mmio_cmdline.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define KEY       "virtio_mmio.device="
#define MAX_BASE  (1ull << 52)
#define MIN_BYTES 0x200u
#define MAX_BYTES 0x10000u
#define MAX_GSI   1023u

static int digit(char c, unsigned base)
{
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < (int)base ? v : -1;
}

// Decimal or 0x…; false if there is no digit or the value passes `max`.
static bool number(const char **at, uint64_t max, uint64_t *out)
{
    unsigned base = 10;
    if ((*at)[0] == '0' && ((*at)[1] == 'x' || (*at)[1] == 'X')) {
        base = 16;
        *at += 2;
    }
    if (digit(**at, base) < 0) {
        return false;
    }
    uint64_t v = 0;
    for (int next; (next = digit(**at, base)) >= 0; (*at)++) {
        v = v * base + (unsigned)next;
        if (v > max) {
            return false;
        }
    }
    *out = v;
    return true;
}

static bool parse(const char *at, struct mmio_entry *out)
{
    uint64_t gsi;
    if (!number(&at, MAX_BYTES, &out->bytes)) {
        return false;
    }
    if (*at == 'K' || *at == 'k') {
        out->bytes *= 1024;
        at++;
    }
    if (*at++ != '@' || !number(&at, MAX_BASE, &out->base) || *at++ != ':' ||
        !number(&at, MAX_GSI, &gsi) || (*at != '\0' && *at != ' ' && *at != ':')) {
        return false;
    }
    out->gsi = (unsigned)gsi;
    return out->bytes >= MIN_BYTES && out->bytes <= MAX_BYTES && (out->base & 3) == 0;
}

int mmio_cmdline_next(const char **cursor, struct mmio_entry *out)
{
    const char *at = *cursor;
    while (*at) {
        while (*at == ' ') {
            at++;
        }
        bool hit = strncmp(at, KEY, sizeof(KEY) - 1) == 0;
        const char *value = at + (hit ? sizeof(KEY) - 1 : 0);
        while (*at && *at != ' ') {
            at++;
        }
        if (hit) {
            *cursor = at;
            return parse(value, out) ? 1 : -EINVAL;
        }
    }
    *cursor = at;
    return 0;
}
