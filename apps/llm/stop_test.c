// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tests of stop strings: found wherever the text is cut, and nothing else is lost or delayed.
// Links: apps/llm/stop.c
#include "apps/llm/stop.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct stop_strings strings_of(const char *const *texts)
{
    struct stop_strings s = {0};
    for (; *texts; texts++) {
        s.string[s.count].text = *texts;
        s.string[s.count++].bytes = strlen(*texts);
    }
    return s;
}

// Pushes `text` in pieces of `step` bytes.
static void shows(const char *const *stops, const char *text, size_t step, const char *want,
                  bool stopped)
{
    struct stop_strings strings = strings_of(stops);
    struct stop_stream s = {.strings = &strings};
    char out[1024];
    size_t n = 0, length = strlen(text);
    for (size_t at = 0; at < length && !s.stopped; at += step)
        n += stop_push(&s, text + at, length - at < step ? length - at : step, out + n);
    n += stop_flush(&s, out + n);
    out[n] = 0;
    assert_string_equal(out, want);
    assert_int_equal(s.stopped, stopped);
}

static void a_stop_string_is_found_however_the_text_is_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step < 20; step++) {
        shows((const char *const[]){"END", NULL}, "one END two", step, "one ", true);
        shows((const char *const[]){"aab", NULL}, "aaaab", step, "aa", true);
        shows((const char *const[]){"abab", NULL}, "ababx", step, "", true);
        shows((const char *const[]){"\n\n", "User:", NULL}, "Hi\nUser: x", step, "Hi\n", true);
        shows((const char *const[]){"abcd", "bc", NULL}, "xabcz", step, "xa", true);
        shows((const char *const[]){"abcd", "bcx", NULL}, "abcx", step, "a", true);
        shows((const char *const[]){"END", NULL}, "the EN", step, "the EN", false);
        shows((const char *const[]){"END", NULL}, "ENENENDEND", step, "ENEN", true);
        shows((const char *const[]){NULL}, "all of it", step, "all of it", false);
    }
}

static void what_cannot_be_a_stop_string_is_shown_at_once(void **state)
{
    (void)state;
    struct stop_strings strings = strings_of((const char *const[]){"stop", NULL});
    struct stop_stream s = {.strings = &strings};
    char out[64];
    assert_int_equal(stop_push(&s, "abc", 3, out), 3);
    assert_int_equal(stop_push(&s, "st", 2, out), 0);
    assert_int_equal(stop_push(&s, "a", 1, out), 3);
    assert_memory_equal(out, "sta", 3);
}

// The same by searching the whole text.
static void random_texts_agree_with_a_plain_search(void **state)
{
    (void)state;
    uint32_t random = 7;
    for (int round = 0; round < 20000; round++) {
        char text[24], stops[3][5];
        const char *list[4] = {stops[0], stops[1], stops[2], NULL};
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = (char)('a' + (random >> 24) % 2);
        }
        text[sizeof text - 1] = 0;
        for (int k = 0; k < 3; k++) {
            random = random * 1664525u + 1013904223u;
            size_t n = 2 + (random >> 20) % 3;
            for (size_t i = 0; i < n; i++)
                stops[k][i] = (char)('a' + (random >> (8 + i)) % 2);
            stops[k][n] = 0;
        }
        // The stop string that is complete first ends the text; of several, the one that begins
        // first.
        size_t end = SIZE_MAX, begin = 0;
        for (int k = 0; k < 3; k++) {
            const char *at = strstr(text, stops[k]);
            size_t from = at ? (size_t)(at - text) : 0, to = from + strlen(stops[k]);
            if (at && (to < end || (to == end && from < begin))) {
                end = to;
                begin = from;
            }
        }
        char want[24];
        memcpy(want, text, sizeof want);
        if (end != SIZE_MAX)
            want[begin] = 0;
        shows(list, text, 1 + (random >> 28) % 5, want, end != SIZE_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_string_is_found_however_the_text_is_cut),
        cmocka_unit_test(what_cannot_be_a_stop_string_is_shown_at_once),
        cmocka_unit_test(random_texts_agree_with_a_plain_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
