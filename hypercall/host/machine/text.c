// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A text that grows; XML's escapes.
#include "hypercall/host/machine/text.h"

#include <errno.h>
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

// UTF-8 of a character; 0: it is none.
static size_t put_character(char out[4], unsigned long code)
{
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return 0;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)((0xf00u >> n & 0xf0) | code);
    return n;
}

// One entity at `text`, which begins with '&': its bytes, 0 if it is none.
static size_t read_entity(const char *text, size_t left, char out[4], size_t *out_bytes)
{
    static const struct {
        const char *name;
        char character;
    } entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&apos;", '\''}, {"&quot;", '"'}};
    for (size_t e = 0; e < sizeof entities / sizeof *entities; e++) {
        size_t length = strlen(entities[e].name);
        if (length <= left && strncmp(text, entities[e].name, length) == 0) {
            out[0] = entities[e].character;
            *out_bytes = 1;
            return length;
        }
    }
    bool hex = left > 3 && strncmp(text, "&#x", 3) == 0;
    size_t digits = hex ? 3 : 2, at = digits;
    unsigned long code = 0;
    if (left <= 2 || text[1] != '#') {
        return 0;
    }
    for (; at < left && at < digits + 8; at++) {
        char c = text[at];
        int digit = c >= '0' && c <= '9'          ? c - '0'
                    : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                  : -1;
        if (digit < 0) {
            break;
        }
        code = code * (hex ? 16 : 10) + (unsigned)digit;
    }
    *out_bytes = at > digits && at < left && text[at] == ';' ? put_character(out, code) : 0;
    return *out_bytes ? at + 1 : 0;
}

int text_unescape(const char *escaped, size_t bytes, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        char one[4] = {escaped[i]};
        size_t used = 1, made = 1;
        if (escaped[i] == '&') {
            used = read_entity(escaped + i, bytes - i, one, &made);
        }
        if (!used || n + made >= room) {
            return -EINVAL;
        }
        memcpy(out + n, one, made);
        n += made;
        i += used;
    }
    if (n >= room) {
        return -EINVAL;
    }
    out[n] = 0;
    return 0;
}
