// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ISA levels: their names, and which one the machine runs fastest.
//
// Links: @tensor
#include "tensor/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static enum tn_isa best_isa;

static void names_of_levels_parse(void **unused)
{
    (void)unused;
    enum tn_isa isa;
    for (int i = 0; i < TN_ISA_COUNT; i++) {
        assert_int_equal(tn_isa_parse(tn_isa_name((enum tn_isa)i), &isa), 0);
        assert_int_equal(isa, i);
    }
    assert_true(tn_isa_parse("sse9", &isa) < 0);
}

static void the_measured_level_can_run_and_does_not_waver(void **unused)
{
    (void)unused;
    enum tn_isa once = tn_isa_measured();
    assert_true(once <= best_isa);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(tn_isa_measured(), once);
    }
}

int main(void)
{
    best_isa = tn_isa_best();
    printf("levels up to %s\n", tn_isa_name(best_isa));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_levels_parse),
        cmocka_unit_test(the_measured_level_can_run_and_does_not_waver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
