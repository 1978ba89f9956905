// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A line editor as a state machine: bytes of a terminal in, bytes for it out. It moves the cursor
// with backspaces and reprinting alone, so it works on a dumb terminal; a line longer than the
// window scrolls sideways. Text is UTF-8, one column a character.
#ifndef LIBOS_SHELL_EDITOR_H
#define LIBOS_SHELL_EDITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDITOR_LINE_BYTES 1024u // with the NUL
#define EDITOR_HISTORY    16u
#define EDITOR_COLUMNS    79u
#define EDITOR_CANDIDATES 64u

enum editor_event {
    EDITOR_NONE,
    EDITOR_LINE,      // editor_line() is ready; call editor_begin for the next one
    EDITOR_INTERRUPT, // Ctrl-C: the line is thrown away
    EDITOR_END,       // Ctrl-D on an empty line
};

struct editor_host {
    void (*emit)(void *ctx, const char *bytes, size_t count);
    // Fills candidates for the word that starts at `word` in `line` (the text up to the cursor);
    // returns how many. They must stay valid until the next call. May be NULL.
    size_t (*complete)(void *ctx, const char *line, size_t word, const char **candidates,
                       size_t max);
    void *ctx;
};

struct editor {
    struct editor_host host;
    const char *prompt;
    char line[EDITOR_LINE_BYTES];
    size_t length, cursor; // bytes; the cursor stands on a character's first byte
    // What the terminal shows after the prompt, and where its cursor is.
    char shown[EDITOR_LINE_BYTES];
    size_t shown_length, shown_cursor; // bytes within shown
    size_t view;                       // first byte of line that is shown
    // Input in pieces.
    enum { EDITOR_GROUND, EDITOR_ESCAPE, EDITOR_CSI, EDITOR_SS3 } state;
    unsigned parameter, modifier; // of the escape sequence
    bool in_modifier;
    char partial[4]; // an unfinished UTF-8 character
    unsigned partial_length, partial_wanted;
    bool after_return; // a line feed right after it belongs to it
    // History: a ring; `browse` counts back from the newest, 0 is the draft.
    char history[EDITOR_HISTORY][EDITOR_LINE_BYTES];
    unsigned history_count, history_next, browse;
    char draft[EDITOR_LINE_BYTES];
};

void editor_init(struct editor *e, const struct editor_host *host, const char *prompt);
// Prints the prompt and starts an empty line.
void editor_begin(struct editor *e);
// Prints prompt and line again from the left margin (after other output).
void editor_redraw(struct editor *e);
enum editor_event editor_feed(struct editor *e, char byte);
static inline const char *editor_line(const struct editor *e)
{
    return e->line;
}

// Splits `line` in place at blanks; quotes '…' "…" and backslash protect them. Returns the number
// of words, -E2BIG if more than `max`, -EINVAL on an open quote.
int shell_split(char *line, char **words, int max);

// editor_history.c
void editor_history_add(struct editor *e);
void editor_history_move(struct editor *e, int direction); // -1 older, +1 newer
// editor_complete.c
void editor_complete(struct editor *e);
// editor.c, for the two above
void editor_emit(struct editor *e, const char *bytes, size_t count);
void editor_show(struct editor *e);
void editor_set_line(struct editor *e, const char *text);
bool editor_insert(struct editor *e, const char *bytes, size_t count);

#endif
