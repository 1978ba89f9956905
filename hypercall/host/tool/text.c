// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Texts in and out: whole files, and JSON strings.
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *tool_read_all(const char *path, size_t *bytes)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f) {
        tool_fail("%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t used = 0, space = 0;
    for (;;) {
        if (space - used < 2) {
            space = space ? space * 2 : 65536;
            char *more = realloc(text, space);
            if (!more) {
                free(text);
                text = NULL;
                tool_fail("no memory");
                break;
            }
            text = more;
        }
        size_t n = fread(text + used, 1, space - used - 1, f);
        used += n;
        if (n == 0) {
            break;
        }
    }
    if (text && ferror(f)) {
        tool_fail("%s: could not be read", path);
        free(text);
        text = NULL;
    }
    if (f != stdin) {
        fclose(f);
    }
    if (text) {
        text[used] = 0;
        *bytes = used;
    }
    return text;
}

static void print_escaped(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c == '\n') {
            printf("\\n");
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
}

// JSON is UTF-8; a text that ends inside a character, as one of tokens may, is not.
void tool_print_json_text(const char *text, size_t bytes)
{
    struct utf8_stream u = {0};
    char whole[3 * (64 + 4)];
    putchar('"');
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < 64 ? bytes - at : 64;
        print_escaped(whole, utf8_stream_push(&u, text + at, n, at + n == bytes, whole));
    }
    putchar('"');
}
