// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The editor's history: the last lines in a ring, and the draft that waits while one looks back.
#include "libos/shell/editor.h"

#include <string.h>

static char *entry(struct editor *e, unsigned back)
{
    return e->history[(e->history_next + EDITOR_HISTORY - back) % EDITOR_HISTORY];
}

void editor_history_add(struct editor *e)
{
    e->browse = 0;
    if (e->length == strspn(e->line, " ") ||
        (e->history_count && strcmp(entry(e, 1), e->line) == 0)) {
        return;
    }
    memcpy(e->history[e->history_next], e->line, e->length + 1);
    e->history_next = (e->history_next + 1) % EDITOR_HISTORY;
    if (e->history_count < EDITOR_HISTORY) {
        e->history_count++;
    }
}

void editor_history_move(struct editor *e, int direction)
{
    if (direction < 0 && e->browse < e->history_count) {
        if (e->browse == 0) {
            memcpy(e->draft, e->line, e->length + 1);
        }
        e->browse++;
    } else if (direction > 0 && e->browse > 0) {
        e->browse--;
    } else {
        editor_emit(e, "\a", 1);
        return;
    }
    editor_set_line(e, e->browse ? entry(e, e->browse) : e->draft);
}
