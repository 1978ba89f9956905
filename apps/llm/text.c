// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The growing text of text.h.
#include "apps/llm/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *t, size_t more)
{
    if (t->failed)
        return false;
    if (t->bytes + more + 1 > t->room) {
        size_t room = (t->bytes + more + 1) * 2;
        char *data = realloc(t->data, room < 256 ? 256 : room);
        if (!data) {
            t->failed = true;
            return false;
        }
        t->data = data;
        t->room = room < 256 ? 256 : room;
    }
    return true;
}

void text_put(struct text *t, const char *data, size_t bytes)
{
    if (!reserve(t, bytes))
        return;
    if (bytes)
        memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = 0;
}

void text_puts(struct text *t, const char *string)
{
    text_put(t, string, strlen(string));
}

void text_format(struct text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->bytes, (size_t)n + 1, format, again);
        t->bytes += (size_t)n;
    }
    va_end(again);
}

void text_json(struct text *t, const char *data, size_t bytes)
{
    static const char hex[] = "0123456789abcdef";
    text_put(t, "\"", 1);
    size_t plain = 0; // bytes before i that need no escape and are not put yet
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        text_put(t, data + plain, i - plain);
        plain = i + 1;
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        const char *known = c == '"'    ? "\\\""
                            : c == '\\' ? "\\\\"
                            : c == '\n' ? "\\n"
                            : c == '\t' ? "\\t"
                            : c == '\r' ? "\\r"
                                        : NULL;
        if (known)
            text_put(t, known, 2);
        else
            text_put(t, escape, sizeof escape);
    }
    text_put(t, data + plain, bytes - plain);
    text_put(t, "\"", 1);
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}
