// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What of a console's bytes a terminal may see.
#include "hypercall/host/talk/filter.h"

#include <stdbool.h>
#include <string.h>

enum { GROUND, CHARACTER, ESCAPE, CONTROL, CHARSET, STRING, STRING_ESCAPE };

static size_t character_bytes(unsigned char c)
{
    return c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
}

// A sequence as a whole, from ESC '[' to its final byte: does it only draw?
static bool draws(const char *sequence, size_t bytes)
{
    char last = sequence[bytes - 1];
    const char *rest = sequence + 2;
    size_t n = bytes - 3;
    if (n && rest[0] == '?') { // the cursor, the other screen, marks around what is pasted
        static const char *const modes[] = {"?25", "?1049", "?2004"};
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            if (strlen(modes[i]) == n && memcmp(rest, modes[i], n) == 0) {
                return last == 'h' || last == 'l';
            }
        }
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if ((rest[i] < '0' || rest[i] > '9') && rest[i] != ';') {
            return false;
        }
    }
    return strchr("ABCDEFGHJKLMPSTX@dfm", last) != NULL;
}

static void ground(struct filter *f, FILE *out, unsigned char c)
{
    if (c == 0x1b) {
        f->state = ESCAPE;
    } else if (character_bytes(c)) {
        f->state = CHARACTER;
    } else if (c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\a' ||
               (c >= 0x20 && c < 0x7f)) {
        fputc(c, out);
        return;
    } else {
        if (c >= 0x80) {
            fputc('?', out);
        }
        return;
    }
    f->kept[0] = (char)c;
    f->bytes = 1;
}

// false: c belongs to what comes next.
static bool character(struct filter *f, FILE *out, unsigned char c)
{
    if ((c & 0xc0) != 0x80) {
        fputc('?', out);
        f->state = GROUND;
        return false;
    }
    f->kept[f->bytes++] = (char)c;
    if (f->bytes == character_bytes((unsigned char)f->kept[0])) {
        // U+0080 to U+009F are controls.
        bool control = (unsigned char)f->kept[0] == 0xc2 && (unsigned char)f->kept[1] < 0xa0;
        fwrite(control ? "?" : f->kept, 1, control ? 1 : f->bytes, out);
        f->state = GROUND;
    }
    return true;
}

static void escape(struct filter *f, unsigned char c)
{
    f->kept[f->bytes++] = (char)c;
    f->state = c == '['                                                   ? CONTROL
               : c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_' ? STRING
               : c >= 0x20 && c < 0x30                                    ? CHARSET
               : c == 0x1b                                                ? ESCAPE
                                                                          : GROUND;
    f->bytes = f->state == ESCAPE ? 1 : f->bytes;
}

static void control(struct filter *f, FILE *out, unsigned char c)
{
    if (c == 0x1b) {
        f->state = ESCAPE;
        f->bytes = 1;
        return;
    }
    if (c < 0x20 || c >= 0x7f) { // breaks it off
        f->state = GROUND;
        return;
    }
    if (f->bytes < sizeof f->kept - 1) {
        f->kept[f->bytes++] = (char)c;
    } else {
        f->kept[2] = '!'; // too long to be any that draws
    }
    if (c >= 0x40) {
        if (f->bytes < sizeof f->kept - 1 && draws(f->kept, f->bytes)) {
            fwrite(f->kept, 1, f->bytes, out);
        }
        f->state = GROUND;
    }
}

void filter_print(struct filter *f, FILE *out, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count;) {
        unsigned char c = (unsigned char)bytes[i];
        bool taken = true;
        switch (f->state) {
        case GROUND:
            ground(f, out, c);
            break;
        case CHARACTER:
            taken = character(f, out, c);
            break;
        case ESCAPE:
            escape(f, c);
            break;
        case CONTROL:
            control(f, out, c);
            break;
        case CHARSET:
            f->state = c >= 0x20 && c < 0x30 ? CHARSET : GROUND;
            break;
        case STRING:
            f->state = c == 0x1b ? STRING_ESCAPE : c == '\a' ? GROUND : STRING;
            break;
        default: // a string's end, or an escape within it
            f->state = c == '\\' ? GROUND : c == 0x1b ? STRING_ESCAPE : STRING;
            break;
        }
        i += taken;
    }
}
