// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading options and id lists: what is wrong is refused, nothing is half read.
//
// Links: hypercall/host/tool/options.c hypercall/host/tool/nearest.c hypercall/host/tool/key.c
#include "hypercall/host/tool/tool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int tool_fail(const char *format, ...)
{
    (void)format;
    return TOOL_FAILED;
}

static char said[200];

int tool_misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
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

static void a_slip_gets_what_was_meant(void **state)
{
    static const struct {
        const char *typed, *meant;
    } slips[] = {{"--prot", "'--port'"},
                 {"--port2", "'--port'"},
                 {"--key-fiel=x", "'--key-file'"},
                 {"--ports=1", "'--port'"},
                 {"--elephant", NULL},
                 {"--", NULL},
                 {"-x", NULL},
                 {"--kye-fil", "'--key-f"}};
    uint32_t port;
    const char *file, *words[1];
    size_t count;
    struct tool_option options[] = {{"--port", OPTION_COUNT, &port, false},
                                    {"--key-file", OPTION_TEXT, &file, false},
                                    {"-n", OPTION_COUNT, &port, false}};
    (void)state;
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        char typed[20];
        char *argv[] = {(char[]){"run"}, typed, NULL};
        snprintf(typed, sizeof typed, "%s", slips[i].typed);
        assert_int_equal(tool_options(2, argv, options, 3, words, 1, &count), TOOL_USAGE);
        assert_non_null(strstr(said, typed));
        if (slips[i].meant) {
            assert_non_null(strstr(said, slips[i].meant));
        } else {
            assert_null(strstr(said, "perhaps"));
        }
    }
}

static void a_key_leaves_the_command_line(void **state)
{
    char line[] = "s3cret", room[TOOL_KEY];
    const char *key = line;
    (void)state;
    assert_int_equal(tool_key(NULL, room, &key), TOOL_OK);
    assert_string_equal(key, "s3cret");
    assert_string_equal(line, "******");
    assert_int_equal(tool_key("/dev/null", room, &key), TOOL_USAGE); // both
    key = NULL;
    assert_int_equal(tool_key(NULL, room, &key), TOOL_OK);
    assert_null(key);
    static const struct {
        const char *file;
        int status;
    } none[] = {
        {"/dev/null", TOOL_USAGE}, {"/dev/zero", TOOL_USAGE}, {"/nonexistent", TOOL_FAILED}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        key = NULL;
        assert_int_equal(tool_key(none[i].file, room, &key), none[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_words_mix),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(id_lists_are_read_whole_or_not),
        cmocka_unit_test(a_slip_gets_what_was_meant),
        cmocka_unit_test(a_key_leaves_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
