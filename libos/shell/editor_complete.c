// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tab: the word before the cursor grows by what all candidates share; a second look lists them.
#include "libos/shell/editor.h"

#include <string.h>

static void list(struct editor *e, const char **candidates, size_t count)
{
    size_t column = 0;
    editor_emit(e, "\r\n", 2);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(candidates[i]);
        if (column && column + n + 2 > EDITOR_COLUMNS) {
            editor_emit(e, "\r\n", 2);
            column = 0;
        }
        editor_emit(e, column ? "  " : "", column ? 2 : 0);
        editor_emit(e, candidates[i], n);
        column += n + 2;
    }
    editor_emit(e, "\r\n", 2);
    editor_redraw(e);
}

void editor_complete(struct editor *e)
{
    const char *candidates[EDITOR_CANDIDATES];
    char before[EDITOR_LINE_BYTES];
    size_t word = e->cursor;
    if (e->host.complete == NULL) {
        return;
    }
    while (word > 0 && e->line[word - 1] != ' ') {
        word--;
    }
    memcpy(before, e->line, e->cursor);
    before[e->cursor] = '\0';
    size_t count = e->host.complete(e->host.ctx, before, word, candidates, EDITOR_CANDIDATES);
    if (count == 0) {
        editor_emit(e, "\a", 1);
        return;
    }
    size_t typed = e->cursor - word;
    size_t shared = strlen(candidates[0]);
    for (size_t i = 1; i < count; i++) {
        size_t k = 0;
        while (k < shared && candidates[i][k] == candidates[0][k]) {
            k++;
        }
        shared = k;
    }
    if (shared > typed) {
        editor_insert(e, candidates[0] + typed, shared - typed);
    }
    if (count == 1) {
        if (e->line[e->cursor] != ' ') {
            editor_insert(e, " ", 1);
        }
    } else if (shared <= typed) {
        list(e, candidates, count);
    }
}
