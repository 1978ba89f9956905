// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The line editor against a dumb terminal: after each key the screen must show the line and the
// cursor must stand where the editor thinks.
// Links: libos/shell/editor.c libos/shell/editor_history.c libos/shell/editor_complete.c
// Links: libos/shell/words.c
#include "libos/shell/editor.h"
#include "libos/shell/terminal_fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct terminal screen;
static struct editor e;

static void emit(void *ctx, const char *bytes, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        terminal_put(&screen, bytes[i]);
    }
}

static size_t complete(void *ctx, const char *line, size_t word, const char **out, size_t max)
{
    static const char *const commands[] = {"log", "lspci", "lspower", "mem"};
    static const char *const arguments[] = {"all", "-v"};
    const char *const *from = word == 0 ? commands : arguments;
    size_t count = word == 0 ? 4 : 2, n = 0;
    (void)ctx;
    for (size_t i = 0; i < count && n < max; i++) {
        if (strncmp(from[i], line + word, strlen(line + word)) == 0) {
            out[n++] = from[i];
        }
    }
    return n;
}

static int setup(void **state)
{
    (void)state;
    static const struct editor_host host = {emit, complete, NULL};
    memset(&screen, 0, sizeof(screen));
    terminal_blank(&screen);
    editor_init(&e, &host, "> ");
    editor_begin(&e);
    return 0;
}

static size_t characters(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return n;
}

static void screen_is_true(void)
{
    char shown[512], want[EDITOR_LINE_BYTES + 4];
    terminal_text(&screen, shown);
    size_t n = 2;
    memcpy(want, "> ", 2);
    size_t end = e.view;
    for (size_t count = 0; count < EDITOR_COLUMNS - 2 && end < e.length;) {
        do {
            want[n++] = e.line[end++];
        } while (end < e.length && ((unsigned char)e.line[end] & 0xc0) == 0x80);
        count++;
    }
    while (n && want[n - 1] == ' ') {
        n--;
    }
    want[n] = '\0';
    assert_string_equal(shown, want);
    assert_int_equal(screen.column, 2 + characters(e.line + e.view, e.cursor - e.view));
    assert_false(screen.overrun);
}

static enum editor_event type(const char *keys)
{
    enum editor_event last = EDITOR_NONE;
    for (; *keys; keys++) {
        last = editor_feed(&e, *keys);
        if (last == EDITOR_NONE) {
            screen_is_true();
        }
    }
    return last;
}

#define UP    "\033[A"
#define DOWN  "\033[B"
#define RIGHT "\033[C"
#define LEFT  "\033[D"

static void typing_and_return_give_the_line(void **state)
{
    (void)state;
    assert_int_equal(type("hello\r"), EDITOR_LINE);
    assert_string_equal(editor_line(&e), "hello");
    assert_int_equal(screen.lines, 1);
    editor_begin(&e);
    assert_int_equal(type("\n"), EDITOR_NONE); // the rest of CR LF
    assert_int_equal(type("\n"), EDITOR_LINE);
}

static void editing_in_the_middle(void **state)
{
    (void)state;
    type("hllo" LEFT LEFT LEFT "e");
    assert_string_equal(e.line, "hello");
    type("\001X\005Y"); // home, end
    assert_string_equal(e.line, "XhelloY");
    type("\033[H\033[3~"); // home, delete
    assert_string_equal(e.line, "helloY");
    type("\033[F\177"); // end, backspace
    assert_string_equal(e.line, "hello");
    type(LEFT LEFT "\013"); // kill to the end
    assert_string_equal(e.line, "hel");
    type(" two  words\027"); // word back
    assert_string_equal(e.line, "hel two  ");
    type("\027\025"); // word, then all before
    assert_string_equal(e.line, "");
    type("ab" LEFT "\004"); // Ctrl-D deletes
    assert_string_equal(e.line, "a");
}

static void keys_of_all_terminals_are_understood(void **state)
{
    (void)state;
    type("abc def\033OH1\033OF2\033[1~3\033[4~4\033[7~5\033[8~6");
    assert_string_equal(e.line, "531abc def246");
    type("\033[1;5D|\033[1;5D|");
    assert_string_equal(e.line, "531abc ||def246");
    type("\033[5~\033[200~\033[Z\033[999999999;99999999~"); // ignored
    assert_string_equal(e.line, "531abc ||def246");
    type("\001\033f!\033b?");
    assert_string_equal(e.line, "?531abc! ||def246");
}

static void control_c_and_d(void **state)
{
    (void)state;
    type("half a line");
    assert_int_equal(editor_feed(&e, 0x03), EDITOR_INTERRUPT);
    editor_begin(&e);
    screen_is_true();
    assert_int_equal(editor_feed(&e, 0x04), EDITOR_END);
}

static void enter(const char *line)
{
    type(line);
    assert_int_equal(editor_feed(&e, '\r'), EDITOR_LINE);
    editor_begin(&e);
}

static void history_goes_back_and_forth_and_keeps_the_draft(void **state)
{
    (void)state;
    enter("one");
    enter("two");
    enter("two");
    enter("   ");
    type("draft" UP);
    assert_string_equal(e.line, "two");
    type(UP);
    assert_string_equal(e.line, "one");
    type(UP);
    assert_string_equal(e.line, "one");
    type(DOWN "!");
    assert_string_equal(e.line, "two!");
    type(DOWN);
    assert_string_equal(e.line, "draft");
    type(DOWN);
    assert_string_equal(e.line, "draft");
    assert_int_equal(screen.bells, 2);
}

static void history_is_bounded(void **state)
{
    (void)state;
    char line[8];
    for (unsigned i = 0; i < EDITOR_HISTORY + 5; i++) {
        snprintf(line, sizeof(line), "l%u", i);
        enter(line);
    }
    for (unsigned i = 0; i < EDITOR_HISTORY + 5; i++) {
        type(UP);
    }
    assert_string_equal(e.line, "l5");
}

static void tab_completes_commands_and_arguments(void **state)
{
    (void)state;
    type("m\t");
    assert_string_equal(e.line, "mem ");
    type("a\t");
    assert_string_equal(e.line, "mem all ");
    type("\025ls\t");
    assert_string_equal(e.line, "lsp");
    unsigned lines = screen.lines;
    type("\t"); // ambiguous: a list, and the line again
    assert_string_equal(e.line, "lsp");
    assert_int_equal(screen.lines, lines + 2);
    type("c\t");
    assert_string_equal(e.line, "lspci ");
    type("\025zzz\t");
    assert_string_equal(e.line, "zzz");
    assert_int_equal(screen.bells, 1);
}

static void long_lines_scroll_sideways_and_end_at_the_limit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1200; i++) {
        char c = (char)('a' + i % 26);
        editor_feed(&e, c);
        screen_is_true();
    }
    assert_int_equal(e.length, EDITOR_LINE_BYTES - 1);
    assert_int_equal(screen.bells, 1200 - (EDITOR_LINE_BYTES - 1));
    for (unsigned i = 0; i < 1100; i++) {
        type(LEFT);
    }
    assert_int_equal(e.view, 0);
    for (unsigned i = 0; i < 1100; i++) {
        type(RIGHT);
    }
    type("\001\013");
    assert_int_equal(e.length, 0);
}

static void characters_of_several_bytes_move_as_one(void **state)
{
    (void)state;
    type("grün €😀x");
    type(LEFT LEFT LEFT "\177"); // before the euro sign, deleting the blank
    assert_string_equal(e.line, "grün€😀x");
    type("\004\004");
    assert_string_equal(e.line, "grünx");
    type(LEFT LEFT "\177");
    assert_string_equal(e.line, "günx");
}

static void broken_utf8_is_dropped(void **state)
{
    (void)state;
    type("a\xff\x80\xc3z\xe2\x82z\xc0\x80 b");
    assert_string_equal(e.line, "azz b");
}

static void output_of_others_is_followed_by_the_line_again(void **state)
{
    (void)state;
    type("some text" LEFT LEFT);
    emit(NULL, "[1.0] log line\r\n", 16);
    editor_redraw(&e);
    screen_is_true();
    type("\014"); // Ctrl-L
    assert_int_equal(screen.clears, 1);
}

static void words_are_split_with_quotes(void **state)
{
    (void)state;
    char a[] = "  chat \"two words\" it\\'s 'a \\b' \"\" end";
    char *w[8];
    assert_int_equal(shell_split(a, w, 8), 6);
    assert_string_equal(w[0], "chat");
    assert_string_equal(w[1], "two words");
    assert_string_equal(w[2], "it's");
    assert_string_equal(w[3], "a \\b");
    assert_string_equal(w[4], "");
    assert_string_equal(w[5], "end");
    char open[] = "say \"no end";
    assert_int_equal(shell_split(open, w, 8), -EINVAL);
    char many[] = "a b c d";
    assert_int_equal(shell_split(many, w, 3), -E2BIG);
    char none[] = "   ";
    assert_int_equal(shell_split(none, w, 3), 0);
    char backslash[] = "end\\";
    assert_int_equal(shell_split(backslash, w, 3), 1);
    assert_string_equal(w[0], "end\\");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(typing_and_return_give_the_line, setup),
        cmocka_unit_test_setup(editing_in_the_middle, setup),
        cmocka_unit_test_setup(keys_of_all_terminals_are_understood, setup),
        cmocka_unit_test_setup(control_c_and_d, setup),
        cmocka_unit_test_setup(history_goes_back_and_forth_and_keeps_the_draft, setup),
        cmocka_unit_test_setup(history_is_bounded, setup),
        cmocka_unit_test_setup(tab_completes_commands_and_arguments, setup),
        cmocka_unit_test_setup(long_lines_scroll_sideways_and_end_at_the_limit, setup),
        cmocka_unit_test_setup(characters_of_several_bytes_move_as_one, setup),
        cmocka_unit_test_setup(broken_utf8_is_dropped, setup),
        cmocka_unit_test_setup(output_of_others_is_followed_by_the_line_again, setup),
        cmocka_unit_test_setup(words_are_split_with_quotes, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
