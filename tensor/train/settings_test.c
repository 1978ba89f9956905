/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The command line of tessera-train: defaults, values, and what is refused.
 */
// Links: tensor/train/settings.c
#include "tensor/train/settings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Parses a list of arguments that ends with NULL; the first stands for the program's name. */
static int parse(struct train_settings *settings, char **argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    return train_settings_parse(argc, argv, settings);
}

#define PARSE(settings, ...) parse(settings, (char *[]){"tessera-train", __VA_ARGS__, NULL})

static void defaults_make_a_model(void **state)
{
    struct train_settings s;

    (void)state;
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o"), 0);
    assert_string_equal(s.corpus, "c");
    assert_string_equal(s.out, "o");
    assert_int_equal(s.options.shape.width, 128);
    assert_int_equal(s.options.shape.tied, 1);
    assert_int_equal(s.options.shards, 16);
    assert_int_equal(s.options.shard_tokens, 512);
}

static void values_arrive_in_their_fields(void **state)
{
    struct train_settings s;

    (void)state;
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--steps", "7", "--rate", "0.5",
                           "--batch", "100", "--untied", "--resume"),
                     0);
    assert_int_equal(s.options.steps, 7);
    assert_true(s.options.rate == 0.5f);
    assert_int_equal(s.options.shards, 1); /* a step holds at least one longest conversation */
    assert_int_equal(s.options.shape.tied, 0);
    assert_int_equal(s.resume, 1);
}

static void nonsense_is_refused(void **state)
{
    struct train_settings s;

    (void)state;
    assert_int_equal(PARSE(&s, "--corpus", "c"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--steps", "-1"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--steps", "12x"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--steps", "0"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--rate", "nan"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--rate"), -EINVAL);
    assert_int_equal(PARSE(&s, "--corpus", "c", "--out", "o", "--colour"), -EINVAL);
    assert_int_equal(PARSE(&s, "corpus"), -EINVAL);
}

static void help_needs_nothing_else(void **state)
{
    struct train_settings s;

    (void)state;
    assert_int_equal(PARSE(&s, "--help"), 0);
    assert_int_equal(s.help, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_make_a_model),
        cmocka_unit_test(values_arrive_in_their_fields),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(help_needs_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
