// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which type each tensor gets: plain recipes, mixtures, and rows that are no whole blocks.
//
// Links: hypercall/host/tool/quantize_plan.c tensor/quant/types.c tensor/format/gguf.c
// Links: tensor/format/gguf_values.c
#include "hypercall/host/tool/quantize_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static uint32_t type_of(const char *recipe, const char *name, uint64_t columns, uint64_t rows,
                        struct quantize_model model)
{
    bool shortened;
    struct gguf_tensor t = {.name = {name, strlen(name)},
                            .type = TN_F16,
                            .dims = rows ? 2 : 1,
                            .shape = {columns, rows ? rows : 1, 1, 1}};
    const struct quantize_recipe *r = quantize_find(recipe);
    assert_non_null(r);
    return quantize_type(r, &model, &t, &shortened);
}

static const struct quantize_model plain = {.layers = 16};

static void plain_recipes_have_one_type(void **state)
{
    (void)state;
    assert_int_equal(type_of("q4_k", "blk.3.ffn_down.weight", 256, 8, plain), TN_Q4_K);
    assert_int_equal(type_of("Q4_K", "blk.3.attn_v.weight", 256, 8, plain), TN_Q4_K);
    assert_int_equal(type_of("Q4_K", "token_embd.weight", 256, 8, plain), TN_Q4_K);
    assert_int_equal(type_of("Q4_K", "output.weight", 256, 8, plain), TN_Q6_K);
    assert_int_equal(type_of("Q8_0", "output.weight", 256, 8, plain), TN_Q8_0);
    assert_int_equal(type_of("BF16", "output.weight", 256, 8, plain), TN_BF16);
    struct quantize_model tied = plain, pure = plain;
    tied.tied = true;
    pure.pure = true;
    assert_int_equal(type_of("Q4_K", "token_embd.weight", 256, 8, tied), TN_Q6_K);
    assert_int_equal(type_of("Q4_K", "output.weight", 256, 8, pure), TN_Q4_K);
    assert_null(quantize_find("Q9_K"));
}

static void vectors_and_small_matrices_are_not_quantised(void **state)
{
    (void)state;
    assert_int_equal(type_of("Q4_0", "blk.0.attn_norm.weight", 256, 0, plain), TN_F32);
    assert_int_equal(type_of("Q4_0", "blk.0.attn_q.bias", 256, 0, plain), TN_F32);
    assert_int_equal(type_of("Q4_0", "blk.0.ffn_gate_inp.weight", 256, 8, plain), TN_F16);
    assert_int_equal(type_of("Q4_0", "position_embd.weight", 256, 8, plain), TN_F16);
    assert_int_equal(type_of("Q4_0", "token_types.weight", 256, 2, plain), TN_F16);
    assert_int_equal(type_of("Q4_0", "blk.0.ffn_gate_exps.weight", 256, 8, plain), TN_Q4_0);
}

static void mixtures_give_some_layers_more(void **state)
{
    (void)state;
    static const uint32_t more[] = {0, 1, 4, 7, 10, 13, 14, 15};
    for (uint32_t l = 0, i = 0; l < 16; l++) {
        char name[] = "blk.00.ffn_down.weight";
        name[4] = (char)('0' + l / 10);
        name[5] = (char)('0' + l % 10);
        bool is_more = i < sizeof more / sizeof *more && more[i] == l;
        i += is_more;
        assert_int_equal(type_of("Q4_K_M", name, 256, 8, plain), is_more ? TN_Q6_K : TN_Q4_K);
        assert_int_equal(type_of("Q4_K_S", name, 256, 8, plain), l < 2 ? TN_Q5_K : TN_Q4_K);
    }
    assert_int_equal(type_of("Q3_K_M", "blk.9.attn_output.weight", 256, 8, plain), TN_Q4_K);
    assert_int_equal(type_of("Q3_K_M", "blk.9.attn_q.weight", 256, 8, plain), TN_Q3_K);
}

static void odd_rows_get_smaller_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        uint32_t at_32, at_8; // rows of 96 and of 40 values
    } cases[] = {{"Q2_K", TN_Q4_0, TN_F16}, {"Q3_K", TN_Q4_0, TN_F16},
                 {"Q4_K", TN_Q5_0, TN_F16}, {"Q5_K", TN_Q5_1, TN_F16},
                 {"Q6_K", TN_Q8_0, TN_F16}, {"IQ4_XS", TN_IQ4_NL, TN_F16},
                 {"Q4_0", TN_Q4_0, TN_F16}, {"F16", TN_F16, TN_F16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(type_of(cases[i].recipe, "blk.0.attn_q.weight", 96, 8, plain),
                         cases[i].at_32);
        assert_int_equal(type_of(cases[i].recipe, "blk.0.attn_q.weight", 40, 8, plain),
                         cases[i].at_8);
    }
    assert_int_equal(type_of("Q4_K", "output.weight", 96, 8, plain), TN_Q8_0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_recipes_have_one_type),
        cmocka_unit_test(vectors_and_small_matrices_are_not_quantised),
        cmocka_unit_test(mixtures_give_some_layers_more),
        cmocka_unit_test(odd_rows_get_smaller_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
