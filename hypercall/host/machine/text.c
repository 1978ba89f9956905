// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A text that grows; XML's escapes.
#include "hypercall/host/machine/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(struct text *t, size_t more)
{
    if (t->failed) {
        return false;
    }
    if (t->bytes + more + 1 > t->room) {
        size_t room = 2 * (t->bytes + more + 1);
        char *data = realloc(t->data, room);
        if (!data) {
            t->failed = true;
            return false;
        }
        t->data = data;
        t->room = room;
    }
    return true;
}

void text_add(struct text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) {
        t->failed = true;
    } else if (make_room(t, (size_t)n)) {
        vsnprintf(t->data + t->bytes, (size_t)n + 1, format, again);
        t->bytes += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void text_add_escaped(struct text *t, const char *plain)
{
    for (; *plain; plain++) {
        switch (*plain) {
        case '&':
            text_add(t, "&amp;");
            break;
        case '<':
            text_add(t, "&lt;");
            break;
        case '>':
            text_add(t, "&gt;");
            break;
        case '\'':
            text_add(t, "&apos;");
            break;
        case '"':
            text_add(t, "&quot;");
            break;
        default:
            if (make_room(t, 1)) {
                t->data[t->bytes++] = *plain;
                t->data[t->bytes] = 0;
            }
        }
    }
}

// The bytes of the UTF-8 character at c, 0: none that XML may hold.
static size_t character(const uint8_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c[0] < 0x80) {
        return c[0] >= 0x20 && c[0] != 0x7f;
    }
    size_t n = c[0] >= 0xc2 && c[0] < 0xe0   ? 2
               : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
               : c[0] >= 0xf0 && c[0] < 0xf5 ? 4
                                             : 0;
    uint32_t code = n ? c[0] & (0xffu >> (n + 1)) : 0;
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (c[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    bool none = code == 0xfffe || code == 0xffff || (code >= 0x80 && code < 0xa0);
    return n && code >= least[n] && code <= 0x10ffff && !surrogate && !none ? n : 0;
}

bool text_is_clean(const char *plain)
{
    const uint8_t *c = (const uint8_t *)plain;
    while (*c) {
        size_t n = character(c);
        if (n == 0) {
            return false;
        }
        c += n;
    }
    return true;
}
