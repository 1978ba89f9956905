// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading options and id lists: what is wrong is refused, nothing is half read.
//
// Links: hypercall/host/tool/options.c
#include "hypercall/host/tool/tool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

int tool_fail(const char *format, ...)
{
    (void)format;
    return TOOL_FAILED;
}

int tool_misuse(const char *format, ...)
{
    (void)format;
    return TOOL_USAGE;
}

static struct result {
    bool flag;
    const char *text, *optional, *words[2];
    uint32_t count;
    double number;
    struct tool_counts counts;
    size_t word_count;
} r;

static int read_words(int argc, char **argv)
{
    r = (struct result){0};
    struct tool_option options[] = {
        {"--flag", OPTION_FLAG, &r.flag, false}, {"--text", OPTION_TEXT, &r.text, false},
        {"-n", OPTION_COUNT, &r.count, false},   {"--number", OPTION_NUMBER, &r.number, false},
        {"-t", OPTION_COUNTS, &r.counts, false}, {"--maybe", OPTION_OPTIONAL, &r.optional, false}};
    return tool_options(argc, argv, options, 6, r.words, 2, &r.word_count);
}
#define READ(...)                                                                                  \
    read_words(sizeof((char *[]){"x", __VA_ARGS__}) / sizeof(char *), (char *[]){"x", __VA_ARGS__})

static void options_and_words_mix(void **unused)
{
    (void)unused;
    assert_int_equal(
        READ("a", "--flag", "-n", "7", "--text=b c", "--number", "0.5", "z", "-t", "1,20"),
        TOOL_OK);
    assert_true(r.flag);
    assert_int_equal(r.count, 7);
    assert_string_equal(r.text, "b c");
    assert_float_equal(r.number, 0.5, 0);
    assert_int_equal(r.word_count, 2);
    assert_string_equal(r.words[1], "z");
    assert_int_equal(r.counts.count, 2);
    assert_int_equal(r.counts.values[1], 20);
    assert_null(r.optional);
    assert_int_equal(READ("--maybe", "a"), TOOL_OK); // the word is not its value
    assert_string_equal(r.optional, "");
    assert_int_equal(r.word_count, 1);
    assert_int_equal(READ("--maybe=b"), TOOL_OK);
    assert_string_equal(r.optional, "b");
    assert_int_equal(READ("-"), TOOL_OK); // standard input is a word
    assert_int_equal(r.word_count, 1);
}

static void what_is_wrong_is_refused(void **unused)
{
    (void)unused;
    assert_int_equal(READ("-n", "x"), TOOL_USAGE);
    assert_int_equal(READ("-n", "-1"), TOOL_USAGE);
    assert_int_equal(READ("-n", "4294967296"), TOOL_USAGE);
    assert_int_equal(READ("-n", "99999999999999999999"), TOOL_USAGE);
    assert_int_equal(READ("-n", "7x"), TOOL_USAGE);
    assert_int_equal(READ("-n"), TOOL_USAGE);
    assert_int_equal(READ("--number", ""), TOOL_USAGE);
    assert_int_equal(READ("--flag=1"), TOOL_USAGE);
    assert_int_equal(READ("--fla"), TOOL_USAGE);
    assert_int_equal(READ("--flagged"), TOOL_USAGE);
    assert_int_equal(READ("-t", "1,,2"), TOOL_USAGE);
    assert_int_equal(READ("-t", "1,"), TOOL_USAGE);
    assert_int_equal(READ("a", "b", "c"), TOOL_USAGE);
}

static void id_lists_are_read_whole_or_not(void **unused)
{
    (void)unused;
    size_t count;
    int32_t *ids = tool_ids("1,5,2147483647", &count);
    assert_non_null(ids);
    assert_int_equal(count, 3);
    assert_int_equal(ids[2], 2147483647);
    free(ids);
    assert_null(tool_ids("", &count));
    assert_null(tool_ids("1,", &count));
    assert_null(tool_ids("1;2", &count));
    assert_null(tool_ids("-1", &count));
    assert_null(tool_ids("2147483648", &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_words_mix),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(id_lists_are_read_whole_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
