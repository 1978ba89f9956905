/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Q8_0 against its definition, and half precision against the compiler's.
 */
// Links: tensor/train/q8.c
#include "tensor/train/q8.h"

#include "tensor/train/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_half_survives_the_way_through_float(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        if ((half & 0x7c00) == 0x7c00 && half & 0x3ff) /* NaN keeps no payload */
            assert_true(isnan(train_float_from_half((uint16_t)half)));
        else
            assert_int_equal(train_half_from_float(train_float_from_half((uint16_t)half)), half);
    }
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(train_half_from_float(2049.0f), 0x6800); /* 2048 or 2050: even */
    assert_int_equal(train_half_from_float(2051.0f), 0x6802);
    assert_int_equal(train_half_from_float(65519.0f), 0x7bff);
    assert_int_equal(train_half_from_float(65520.0f), 0x7c00);
    assert_int_equal(train_half_from_float(ldexpf(1.0f, -25)), 0); /* half of the smallest */
    assert_int_equal(train_half_from_float(ldexpf(1.5f, -25)), 1);
    assert_int_equal(train_half_from_float(-0.0f), 0x8000);
}

static void quotients_round_half_away_from_zero(void **state)
{
    float x[TRAIN_Q8_BLOCK] = {127.0f, 0.5f, -0.5f, 1.5f, -1.5f, 2.49f};
    uint8_t block[TRAIN_Q8_BYTES];
    const int8_t expected[] = {127, 1, -1, 2, -2, 2, 0};

    (void)state;
    train_q8_encode(TRAIN_Q8_BLOCK, x, block);
    assert_int_equal(block[0] | block[1] << 8, 0x3c00); /* the scale is 1 */
    assert_memory_equal(block + 2, expected, sizeof expected);
}

static void decoding_is_within_half_a_step(void **state)
{
    float x[64 * TRAIN_Q8_BLOCK], y[64 * TRAIN_Q8_BLOCK];
    uint8_t blocks[64 * TRAIN_Q8_BYTES];
    uint64_t random = 9;

    (void)state;
    for (size_t i = 0; i < 64 * TRAIN_Q8_BLOCK; i++)
        x[i] = (float)train_random_normal(&random);
    train_q8_encode(64 * TRAIN_Q8_BLOCK, x, blocks);
    train_q8_decode(64 * TRAIN_Q8_BLOCK, blocks, y);
    for (size_t i = 0; i < 64 * TRAIN_Q8_BLOCK; i++) {
        float largest = 0;

        for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++)
            largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
        assert_true(fabsf(x[i] - y[i]) <= largest / 127.0f * 0.57f);
    }
}

static void a_block_of_zeros_stays_zero(void **state)
{
    float x[TRAIN_Q8_BLOCK] = {0}, y[TRAIN_Q8_BLOCK];
    uint8_t block[TRAIN_Q8_BYTES];

    (void)state;
    train_q8_encode(TRAIN_Q8_BLOCK, x, block);
    train_q8_decode(TRAIN_Q8_BLOCK, block, y);
    assert_memory_equal(x, y, sizeof x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_survives_the_way_through_float),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(quotients_round_half_away_from_zero),
        cmocka_unit_test(decoding_is_within_half_a_step),
        cmocka_unit_test(a_block_of_zeros_stays_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
