// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The line and its picture on the terminal. Every change edits the line first; editor_show then
// brings the terminal from what it shows to what it should show.
#include "libos/shell/editor.h"

#include <string.h>

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t columns(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        n += !is_continuation(text[i]);
    }
    return n;
}

static size_t next_character(const struct editor *e, size_t at)
{
    if (at < e->length) {
        at++;
    }
    while (at < e->length && is_continuation(e->line[at])) {
        at++;
    }
    return at;
}

static size_t previous_character(const struct editor *e, size_t at)
{
    if (at > 0) {
        at--;
    }
    while (at > 0 && is_continuation(e->line[at])) {
        at--;
    }
    return at;
}

void editor_emit(struct editor *e, const char *bytes, size_t count)
{
    if (count) {
        e->host.emit(e->host.ctx, bytes, count);
    }
}

static void emit_times(struct editor *e, char c, size_t count)
{
    char run[32];
    memset(run, c, sizeof(run));
    while (count) {
        size_t n = count < sizeof(run) ? count : sizeof(run);
        editor_emit(e, run, n);
        count -= n;
    }
}

// Moves the terminal's cursor within what it shows.
static void place_cursor(struct editor *e, size_t to)
{
    if (to < e->shown_cursor) {
        emit_times(e, '\b', columns(e->shown + to, e->shown_cursor - to));
    } else {
        editor_emit(e, e->shown + e->shown_cursor, to - e->shown_cursor);
    }
    e->shown_cursor = to;
}

// Moves the window so that the cursor is in it; a third of it is kept as context.
static void scroll(struct editor *e, size_t width)
{
    if (e->cursor >= e->view && columns(e->line + e->view, e->cursor - e->view) < width &&
        (e->view == 0 || e->cursor > e->view)) {
        return;
    }
    size_t back = e->cursor < e->view + 1 ? width / 3 : width - width / 3;
    e->view = e->cursor;
    while (back-- && e->view > 0) {
        e->view = previous_character(e, e->view);
    }
}

void editor_show(struct editor *e)
{
    size_t prompt = strlen(e->prompt);
    size_t width = prompt + 20 < EDITOR_COLUMNS ? EDITOR_COLUMNS - prompt : 20;
    if (e->view > e->length) {
        e->view = e->length;
    }
    scroll(e, width);
    size_t end = e->view;
    for (size_t n = 0; n < width && end < e->length; n++) {
        end = next_character(e, end);
    }
    const char *want = e->line + e->view;
    size_t want_length = end - e->view;
    size_t same = 0;
    while (same < want_length && same < e->shown_length && want[same] == e->shown[same]) {
        same++;
    }
    if (same < want_length || same < e->shown_length) {
        // Back to the start of the character that differs.
        while (same > 0 && ((same < want_length && is_continuation(want[same])) ||
                            (same < e->shown_length && is_continuation(e->shown[same])))) {
            same--;
        }
        size_t old_columns = columns(e->shown + same, e->shown_length - same);
        size_t new_columns = columns(want + same, want_length - same);
        place_cursor(e, same);
        editor_emit(e, want + same, want_length - same);
        if (old_columns > new_columns) {
            emit_times(e, ' ', old_columns - new_columns);
            emit_times(e, '\b', old_columns - new_columns);
        }
        memcpy(e->shown, want, want_length);
        e->shown_length = e->shown_cursor = want_length;
    }
    place_cursor(e, e->cursor - e->view);
}

static void forget_picture(struct editor *e)
{
    e->shown_length = e->shown_cursor = 0;
    editor_emit(e, e->prompt, strlen(e->prompt));
}

void editor_redraw(struct editor *e)
{
    editor_emit(e, "\r", 1);
    forget_picture(e);
    editor_show(e);
}

void editor_init(struct editor *e, const struct editor_host *host, const char *prompt)
{
    memset(e, 0, sizeof(*e));
    e->host = *host;
    e->prompt = prompt;
}

void editor_begin(struct editor *e)
{
    e->length = e->cursor = e->view = 0;
    e->line[0] = '\0';
    e->browse = 0;
    forget_picture(e);
}

void editor_set_line(struct editor *e, const char *text)
{
    e->length = strlen(text);
    memcpy(e->line, text, e->length + 1);
    e->cursor = e->length;
    e->view = 0;
}

bool editor_insert(struct editor *e, const char *bytes, size_t count)
{
    if (count > EDITOR_LINE_BYTES - 1 - e->length) {
        editor_emit(e, "\a", 1);
        return false;
    }
    memmove(e->line + e->cursor + count, e->line + e->cursor, e->length - e->cursor + 1);
    memcpy(e->line + e->cursor, bytes, count);
    e->length += count;
    e->cursor += count;
    return true;
}

static void erase(struct editor *e, size_t from, size_t to)
{
    memmove(e->line + from, e->line + to, e->length - to + 1);
    e->length -= to - from;
    e->cursor = from;
}

static size_t word_left(const struct editor *e)
{
    size_t at = e->cursor;
    while (at > 0 && e->line[at - 1] == ' ') {
        at--;
    }
    while (at > 0 && e->line[at - 1] != ' ') {
        at--;
    }
    return at;
}

static size_t word_right(const struct editor *e)
{
    size_t at = e->cursor;
    while (at < e->length && e->line[at] == ' ') {
        at++;
    }
    while (at < e->length && e->line[at] != ' ') {
        at++;
    }
    return at;
}

static enum editor_event finish(struct editor *e)
{
    e->cursor = e->length;
    editor_show(e);
    editor_emit(e, "\r\n", 2);
    editor_history_add(e);
    return EDITOR_LINE;
}

static enum editor_event control(struct editor *e, char c)
{
    switch (c) {
    case '\r':
    case '\n':
        return finish(e);
    case 0x01: // Ctrl-A
        e->cursor = 0;
        break;
    case 0x02: // Ctrl-B
        e->cursor = previous_character(e, e->cursor);
        break;
    case 0x03: // Ctrl-C
        editor_emit(e, "^C\r\n", 4);
        return EDITOR_INTERRUPT;
    case 0x04: // Ctrl-D
        if (e->length == 0) {
            return EDITOR_END;
        }
        erase(e, e->cursor, next_character(e, e->cursor));
        break;
    case 0x05: // Ctrl-E
        e->cursor = e->length;
        break;
    case 0x06: // Ctrl-F
        e->cursor = next_character(e, e->cursor);
        break;
    case 0x08: // backspace in its two spellings
    case 0x7f:
        erase(e, previous_character(e, e->cursor), e->cursor);
        break;
    case '\t':
        editor_complete(e);
        break;
    case 0x0b: // Ctrl-K
        erase(e, e->cursor, e->length);
        break;
    case 0x0c: // Ctrl-L
        editor_emit(e, "\033[H\033[2J", 7);
        forget_picture(e);
        break;
    case 0x0e: // Ctrl-N
        editor_history_move(e, +1);
        break;
    case 0x10: // Ctrl-P
        editor_history_move(e, -1);
        break;
    case 0x15: // Ctrl-U
        erase(e, 0, e->cursor);
        break;
    case 0x17: // Ctrl-W
        erase(e, word_left(e), e->cursor);
        break;
    case 0x1b:
        e->state = EDITOR_ESCAPE;
        break;
    default:
        break;
    }
    editor_show(e);
    return EDITOR_NONE;
}

// Collects a UTF-8 character whole; what is none is dropped.
static void text(struct editor *e, char c)
{
    unsigned char u = (unsigned char)c;
    if (e->partial_wanted && is_continuation(c)) {
        e->partial[e->partial_length++] = c;
    } else {
        e->partial_wanted = u < 0x80                ? 1
                            : u >= 0xc2 && u < 0xe0 ? 2
                            : u >= 0xe0 && u < 0xf0 ? 3
                            : u >= 0xf0 && u < 0xf5 ? 4
                                                    : 0;
        e->partial[0] = c;
        e->partial_length = 1;
    }
    if (e->partial_wanted && e->partial_length == e->partial_wanted) {
        editor_insert(e, e->partial, e->partial_length);
        e->partial_wanted = 0;
        editor_show(e);
    }
}

// The last byte of an escape sequence (ECMA-48 5.4; the numbered keys are the VT220's).
static void key(struct editor *e, char final)
{
    bool word = e->modifier == 5 || e->modifier == 3; // Ctrl or Alt
    if (final == '~') {
        static const char numbered[] = {0, 'H', 0, 'X', 'F', 0, 0, 'H', 'F'};
        final = e->parameter < sizeof(numbered) ? numbered[e->parameter] : 0;
    }
    switch (final) {
    case 'A':
        editor_history_move(e, -1);
        break;
    case 'B':
        editor_history_move(e, +1);
        break;
    case 'C':
        e->cursor = word ? word_right(e) : next_character(e, e->cursor);
        break;
    case 'D':
        e->cursor = word ? word_left(e) : previous_character(e, e->cursor);
        break;
    case 'H':
        e->cursor = 0;
        break;
    case 'F':
        e->cursor = e->length;
        break;
    case 'X': // delete
        erase(e, e->cursor, next_character(e, e->cursor));
        break;
    default:
        break;
    }
    editor_show(e);
}

static void escape(struct editor *e, char c)
{
    if (e->state == EDITOR_ESCAPE) {
        e->parameter = e->modifier = 0;
        e->in_modifier = false;
        e->state = c == '[' ? EDITOR_CSI : c == 'O' ? EDITOR_SS3 : EDITOR_GROUND;
        if (c == 'b' || c == 'f') { // Alt-B, Alt-F
            e->modifier = 3;
            key(e, c == 'b' ? 'D' : 'C');
        }
        return;
    }
    if (e->state == EDITOR_CSI && c >= '0' && c <= '9') {
        unsigned *number = e->in_modifier ? &e->modifier : &e->parameter;
        *number = *number < 1000 ? *number * 10 + (unsigned)(c - '0') : *number;
    } else if (e->state == EDITOR_CSI && c == ';') {
        e->in_modifier = true;
    } else if (c >= 0x40 && c <= 0x7e) {
        e->state = EDITOR_GROUND;
        key(e, c);
    } else if (c < 0x20) {
        e->state = EDITOR_GROUND; // a control character breaks a sequence off
    }
}

enum editor_event editor_feed(struct editor *e, char c)
{
    bool after_return = e->after_return;
    e->after_return = c == '\r';
    if (c == '\n' && after_return) {
        return EDITOR_NONE;
    }
    if (e->state != EDITOR_GROUND) {
        escape(e, c);
        return EDITOR_NONE;
    }
    if ((unsigned char)c < 0x20 || c == 0x7f) {
        e->partial_wanted = 0;
        return control(e, c);
    }
    text(e, c);
    return EDITOR_NONE;
}
