// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a guest may do to the terminal of whoever looks at its console: draw, and nothing else.
//
// Links: hypercall/host/talk/filter.c hypercall/host/talk/sse.c
#include "hypercall/host/talk/filter.h"
#include "hypercall/host/talk/sse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void shows(const char *bytes, const char *want)
{
    for (size_t step = 1; step <= strlen(bytes) + 1; step += strlen(bytes)) {
        struct filter f = {0};
        char *found = NULL;
        size_t length;
        FILE *out = open_memstream(&found, &length);
        for (size_t at = 0; at < strlen(bytes); at += step) {
            size_t left = strlen(bytes) - at;
            filter_print(&f, out, bytes + at, left < step ? left : step);
        }
        fclose(out);
        assert_string_equal(found, want);
        free(found);
    }
}

static void what_draws_passes(void **state)
{
    (void)state;
    shows("tessera> help\r\n", "tessera> help\r\n");
    shows("\033[H\033[2J\033[1;31mred\033[0m\b \b\033[3D\033[K",
          "\033[H\033[2J\033[1;31mred\033[0m\b \b\033[3D\033[K");
    shows("\033[?25l\033[?1049h", "\033[?25l\033[?1049h");
    shows("gr\xc3\xbc\xc3\x9f, \xe2\x82\xac \xf0\x9f\x98\x80",
          "gr\xc3\xbc\xc3\x9f, \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void what_makes_a_terminal_answer_does_not(void **state)
{
    (void)state;
    shows("a\033[cb", "ab");   // device attributes
    shows("a\033[6nb", "ab");  // where is the cursor?
    shows("a\033[>qb", "ab");  // its version
    shows("a\033[21tb", "ab"); // its title
    shows("a\033P+q544e\033\\b", "ab");
    shows("a\033]0;title\ab", "ab");
    shows("a\033]52;c;cm0gLXJm\033\\b", "ab"); // the clipboard
    shows("a\033]0;\033[31m\ab", "ab");
    shows("a\033cb", "ab");       // reset
    shows("a\033[?1000hb", "ab"); // reports of the mouse
    shows("a\033[ qb", "ab");
    shows("a\033(0b", "ab");
    shows("a\005b", "ab");
}

static void bytes_that_are_no_text_are_marked(void **state)
{
    (void)state;
    shows("a\x9b"
          "6nb",
          "a?6nb"); // CSI in eight bits
    shows("a\xc2\x9b"
          "6nb",
          "a?6nb");
    shows("a\xe2\x82 b", "a? b");
    shows("a\xc3\033[6nb", "a?b");
    shows("a\x7f\001b", "ab");
}

static void a_sequence_without_end_prints_nothing(void **state)
{
    (void)state;
    char text[400] = "a\033[";
    memset(text + 3, '1', 300);
    memcpy(text + 303, "mb", 3);
    shows(text, "ab");
    shows("a\033", "a");
    shows("a\033[1;3", "a");
}

// ---- events ------------------------------------------------------------------------------------

static int collect(void *context, const char *data, size_t bytes)
{
    char *all = context;
    assert_int_equal(strlen(data), bytes);
    snprintf(all + strlen(all), 1000 - strlen(all), "%s|", data);
    return strcmp(data, "stop") == 0 ? -ECANCELED : 0;
}

static void events_are_read_however_they_are_cut(void **state)
{
    static const char stream[] = ": hello\n\ndata: one\n\ndata:two\r\n\r\nevent: x\ndata: a\n"
                                 "data: b\n\ndata:\n\nid: 4\n\rretry: 5\n\ndata: cut";
    (void)state;
    for (size_t step = 1; step < sizeof stream; step++) {
        struct sse s = {0};
        char all[1000] = "";
        for (size_t at = 0; at + 1 < sizeof stream; at += step) {
            size_t left = sizeof stream - 1 - at;
            assert_int_equal(sse_push(&s, stream + at, left < step ? left : step, collect, all), 0);
        }
        assert_string_equal(all, "one|two|a\nb||");
        sse_free(&s);
    }
}

static void an_event_ends_reading_and_one_without_end_is_refused(void **state)
{
    struct sse s = {0};
    char all[1000] = "";
    (void)state;
    assert_int_equal(sse_push(&s, "data: stop\n\ndata: x\n\n", 22, collect, all), -ECANCELED);
    assert_string_equal(all, "stop|");
    sse_free(&s);
    char block[4096];
    int rc = 0;
    memset(block, 'a', sizeof block);
    for (int i = 0; i < 1000 && !rc; i++) {
        rc = sse_push(&s, block, sizeof block, collect, all);
    }
    assert_int_equal(rc, -EMSGSIZE);
    sse_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_draws_passes),
        cmocka_unit_test(what_makes_a_terminal_answer_does_not),
        cmocka_unit_test(bytes_that_are_no_text_are_marked),
        cmocka_unit_test(a_sequence_without_end_prints_nothing),
        cmocka_unit_test(events_are_read_however_they_are_cut),
        cmocka_unit_test(an_event_ends_reading_and_one_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
