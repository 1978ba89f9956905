// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tests of the type table.
// Links: tensor/quant/types.c
#include "tensor/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void block_sizes_are_those_of_the_format(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, values, bytes;
    } want[] = {{TN_F32, 1, 4},      {TN_F16, 1, 2},        {TN_BF16, 1, 2},
                {TN_Q4_0, 32, 18},   {TN_Q4_1, 32, 20},     {TN_Q5_0, 32, 22},
                {TN_Q5_1, 32, 24},   {TN_Q8_0, 32, 34},     {TN_Q8_1, 32, 36},
                {TN_Q2_K, 256, 84},  {TN_Q3_K, 256, 110},   {TN_Q4_K, 256, 144},
                {TN_Q5_K, 256, 176}, {TN_Q6_K, 256, 210},   {TN_Q8_K, 256, 292},
                {TN_IQ4_NL, 32, 18}, {TN_IQ4_XS, 256, 136}, {TN_MXFP4, 32, 17}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct tn_type_info *t = tn_type_info(want[i].type);
        assert_non_null(t->name);
        assert_int_equal(t->block_values, want[i].values);
        assert_int_equal(t->block_bytes, want[i].bytes);
    }
}

static void unknown_types_have_no_name(void **state)
{
    (void)state;
    static const uint32_t none[] = {4, 5, 31, 36, 43, TN_TYPE_LIMIT, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_null(tn_type_info(none[i])->name);
    assert_int_equal(tn_row_bytes(4, 32), 0);
}

static void packed_types_are_described_as_their_source(void **state)
{
    (void)state;
    assert_ptr_equal(tn_type_info(TN_Q4_K | TN_PACKED), tn_type_info(TN_Q4_K));
    assert_ptr_equal(tn_type_info(TN_F16 | TN_PACKED), tn_type_info(TN_F16));
    static const uint32_t none[] = {TN_I32 | TN_PACKED, TN_Q8_K | TN_PACKED, 4 | TN_PACKED,
                                    TN_TYPE_LIMIT | TN_PACKED, 0x2000};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_null(tn_type_info(none[i])->name);
}

static void rows_are_whole_blocks(void **state)
{
    (void)state;
    assert_int_equal(tn_row_bytes(TN_F32, 7), 28);
    assert_int_equal(tn_row_bytes(TN_Q8_0, 64), 68);
    assert_int_equal(tn_row_bytes(TN_Q8_0, 65), 0);
    assert_int_equal(tn_row_bytes(TN_Q8_0, UINT64_MAX / 32 * 32), 0); // more than memory can be
}

static void weights_of_every_block_type_can_be_multiplied_by(void **state)
{
    (void)state;
    static const uint32_t weights[] = {TN_F32,  TN_F16,    TN_BF16,   TN_Q8_0, TN_Q4_0, TN_Q4_1,
                                       TN_Q5_0, TN_Q5_1,   TN_Q2_K,   TN_Q3_K, TN_Q4_K, TN_Q5_K,
                                       TN_Q6_K, TN_IQ4_NL, TN_IQ4_XS, TN_MXFP4};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        assert_true(tn_type_info(weights[i])->computable);
    assert_false(tn_type_info(TN_Q8_1)->computable); // activations
    assert_false(tn_type_info(TN_Q8_K)->computable);
    assert_false(tn_type_info(TN_I32)->computable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_sizes_are_those_of_the_format),
        cmocka_unit_test(unknown_types_have_no_name),
        cmocka_unit_test(packed_types_are_described_as_their_source),
        cmocka_unit_test(rows_are_whole_blocks),
        cmocka_unit_test(weights_of_every_block_type_can_be_multiplied_by)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
