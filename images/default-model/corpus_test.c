/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The corpus: what is held out stays out of training, the checker notices when it does not, and the
 * held-out part holds what it promises.
 */
// Links: images/default-model/corpus.c images/default-model/check.c
// Links: images/default-model/wordings.c images/default-model/facts.c
// Links: images/default-model/numbers.c
#include "corpus.h"

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[] = "/tmp/corpus_test.XXXXXX", training[64], held_out[64], again[64];

static int write_corpus(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(training, sizeof training, "%s/train.txt", folder);
    snprintf(held_out, sizeof held_out, "%s/held-out.tsv", folder);
    snprintf(again, sizeof again, "%s/other.txt", folder);
    return corpus_write(folder, 120000, 1);
}

static int remove_corpus(void **state)
{
    (void)state;
    remove(training);
    remove(held_out);
    remove(again);
    return remove(folder);
}

static void nothing_held_out_is_in_the_training_text(void **state)
{
    struct corpus_check result;

    (void)state;
    assert_int_equal(corpus_check(training, held_out, &result), 0);
    assert_int_equal(result.faults, 0);
    assert_true(result.questions > 3000);
    assert_true(result.trained_pairs > 4000);
    assert_true(result.held_out_pairs > 300);
}

static void a_tenth_of_the_pairs_is_held_out_in_either_order(void **state)
{
    unsigned count = 0;

    (void)state;
    for (unsigned a = 0; a < 100; a++) {
        for (unsigned b = a; b < 100; b++) {
            count += world_pair_is_held_out(a, b);
            assert_int_equal(world_pair_is_held_out(a, b), world_pair_is_held_out(b, a));
        }
    }
    assert_in_range(count, 5050 * 9 / 100, 5050 * 11 / 100);
}

/* Writes one conversation and returns how many faults the checker finds in it. */
static size_t faults_in(const char *question)
{
    FILE *file = fopen(again, "w");
    struct corpus_check result;

    assert_non_null(file);
    fprintf(file, "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n\n",
            question);
    fclose(file);
    assert_int_equal(corpus_check(again, held_out, &result), 0);
    return result.faults;
}

static void the_checker_finds_what_should_not_be_there(void **state)
{
    char line[512], question[512];
    FILE *file = fopen(held_out, "r");
    unsigned a = 0, b = 0;

    (void)state;
    assert_non_null(file);
    for (int i = 0; i < 2500; i++)
        assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    snprintf(question, sizeof question, "Well now, %.*s",
             (int)strcspn(strchr(line, '\t') + 1, "\t"), strchr(line, '\t') + 1);
    assert_true(faults_in(question) > 0);

    file = fopen(held_out, "r"); /* the first one is about a sum */
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_int_equal(sscanf(strrchr(line, '\t'), " %u plus %u", &a, &b), 2);
    snprintf(question, sizeof question, "Are %u apples more than %u?", b, a);
    assert_true(faults_in(question) > 0);
    assert_int_equal(faults_in("An innocent question?"), 0);
}

static void every_kind_has_its_own_held_out_wordings(void **state)
{
    (void)state;
    for (unsigned k = 0; k < world_kind_count; k++) {
        assert_non_null(world_kinds[k].held_out[0]);
        for (const char *const *h = world_kinds[k].held_out; *h; h++) {
            for (const char *const *t = world_kinds[k].trained; *t; t++)
                assert_string_not_equal(*h, *t);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_held_out_is_in_the_training_text),
        cmocka_unit_test(a_tenth_of_the_pairs_is_held_out_in_either_order),
        cmocka_unit_test(the_checker_finds_what_should_not_be_there),
        cmocka_unit_test(every_kind_has_its_own_held_out_wordings),
    };

    return cmocka_run_group_tests(tests, write_corpus, remove_corpus);
}
