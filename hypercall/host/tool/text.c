// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Texts in and out: whole files, and JSON strings.
#include "hypercall/host/base/files.h"
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *tool_read_all(const char *path, size_t *bytes)
{
    char *text = NULL;
    int rc = strcmp(path, "-") == 0 ? file_load_open(STDIN_FILENO, SIZE_MAX / 4, &text, bytes)
                                    : file_load(path, SIZE_MAX / 4, &text, bytes);
    if (rc) {
        tool_fail("%s: %s", path, strerror(-rc));
        return NULL;
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
