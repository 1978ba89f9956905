// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For the editor's test and fuzzer: a dumb terminal that knows printable characters, backspace,
// carriage return, line feed, bell, and the one clear-screen sequence.
#ifndef LIBOS_SHELL_TERMINAL_FAKE_H
#define LIBOS_SHELL_TERMINAL_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define TERMINAL_COLUMNS 80

struct terminal {
    char cell[TERMINAL_COLUMNS][5]; // the line with the cursor, a UTF-8 character a cell
    size_t column;
    unsigned lines, bells, clears;
    bool overrun; // wrote or moved past an edge
    size_t escape;
};

static inline void terminal_blank(struct terminal *t)
{
    for (size_t i = 0; i < TERMINAL_COLUMNS; i++) {
        strcpy(t->cell[i], " ");
    }
}

static inline void terminal_put(struct terminal *t, char c)
{
    static const char clear[] = "\033[H\033[2J";
    if (t->escape || c == '\033') {
        t->overrun |= clear[t->escape] != c;
        if (clear[++t->escape] == '\0') {
            t->escape = 0;
            t->clears++;
            terminal_blank(t);
            t->column = 0;
        }
    } else if (c == '\b') {
        t->overrun |= t->column == 0;
        t->column -= t->column > 0;
    } else if (c == '\r') {
        t->column = 0;
    } else if (c == '\n') {
        t->lines++;
        terminal_blank(t);
    } else if (c == '\a') {
        t->bells++;
    } else if (((unsigned char)c & 0xc0) == 0x80) {
        size_t n = t->column ? strlen(t->cell[t->column - 1]) : 4;
        if (n < 4) {
            t->cell[t->column - 1][n] = c;
            t->cell[t->column - 1][n + 1] = '\0';
        } else {
            t->overrun = true;
        }
    } else if ((unsigned char)c < 0x20 || c == 0x7f || t->column == TERMINAL_COLUMNS) {
        t->overrun = true;
    } else {
        t->cell[t->column][0] = c;
        t->cell[t->column][1] = '\0';
        t->column++;
    }
}

// The line without the blanks at its end.
static inline void terminal_text(const struct terminal *t, char *out)
{
    char *end = out;
    for (size_t i = 0; i < TERMINAL_COLUMNS; i++) {
        size_t n = strlen(t->cell[i]);
        memcpy(out, t->cell[i], n);
        out += n;
        if (strcmp(t->cell[i], " ") != 0) {
            end = out;
        }
    }
    *end = '\0';
}

#endif
