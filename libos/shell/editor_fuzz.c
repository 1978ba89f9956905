// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Arbitrary keys: the terminal must show what the editor holds, and the line must stay whole.
// Links: libos/shell/editor.c libos/shell/editor_history.c libos/shell/editor_complete.c
// Links: libos/shell/words.c
#include "libos/shell/editor.h"
#include "libos/shell/terminal_fake.h"

#include <stdlib.h>

static struct terminal screen;

static void emit(void *ctx, const char *bytes, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        terminal_put(&screen, bytes[i]);
    }
}

static size_t complete(void *ctx, const char *line, size_t word, const char **out, size_t max)
{
    static const char *const words[] = {"aaa", "aab", "ab", "b", "ü1", "ü2"};
    size_t n = 0;
    (void)ctx;
    for (size_t i = 0; i < 6 && n < max; i++) {
        if (strncmp(words[i], line + word, strlen(line + word)) == 0) {
            out[n++] = words[i];
        }
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct editor_host host = {emit, complete, NULL};
    static struct editor e;
    static char copy[EDITOR_LINE_BYTES];
    char *words[8], shown[512];
    memset(&screen, 0, sizeof(screen));
    terminal_blank(&screen);
    editor_init(&e, &host, "> ");
    editor_begin(&e);
    for (size_t i = 0; i < size; i++) {
        enum editor_event event = editor_feed(&e, (char)data[i]);
        if (event == EDITOR_LINE) {
            memcpy(copy, e.line, sizeof(copy));
            shell_split(copy, words, 8);
        }
        if (event == EDITOR_END) {
            emit(NULL, "\r\n", 2);
        }
        if (event != EDITOR_NONE) {
            editor_begin(&e);
        }
        terminal_text(&screen, shown);
        size_t n = e.shown_length;
        while (n && e.shown[n - 1] == ' ') {
            n--;
        }
        if (screen.overrun || e.length >= EDITOR_LINE_BYTES || e.line[e.length] ||
            strlen(e.line) != e.length || e.cursor > e.length || e.view > e.cursor ||
            strncmp(shown, "> ", n ? 2 : 1) != 0 || (n && strncmp(shown + 2, e.shown, n) != 0) ||
            memcmp(e.shown, e.line + e.view, e.shown_length) != 0) {
            abort();
        }
    }
    return 0;
}
