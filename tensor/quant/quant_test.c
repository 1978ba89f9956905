// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Rows to blocks and back: how near they come, what they decode to bit for bit, what is refused.
//
// Links: tensor/quant/quant.c tensor/quant/fit.c tensor/quant/plain.c tensor/quant/blocks32.c
// Links: tensor/quant/superblock.c tensor/quant/k_signed.c tensor/quant/k_minimum.c
// Links: tensor/quant/codebook.c tensor/quant/types.c
#include "tensor/quant.h"

#include "tensor/half.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { VALUES = 16384, MOST_BYTES = VALUES * 4 };

// For each type: the relative rms error that llama.cpp's own encoder leaves on Gaussian rows, times
// 10^6, and a hash of what a fixed pattern of bytes decodes to (the same bits there).
static const struct {
    uint32_t type, error;
    uint32_t hash;
} types[] = {
    {TN_F32, 1, 0x2768da37},        {TN_F16, 212, 0xfcc6edc5},      {TN_BF16, 1700, 0xb6ff6dc5},
    {TN_Q8_0, 5358, 0x4fdfca45},    {TN_Q4_0, 85649, 0x83e805c5},   {TN_Q4_1, 78530, 0x4932d521},
    {TN_Q5_0, 42700, 0x26f4dbc5},   {TN_Q5_1, 37944, 0x78ab0b5b},   {TN_Q2_K, 296279, 0x3c409b69},
    {TN_Q3_K, 151071, 0x944d4185},  {TN_Q4_K, 71507, 0x93928fc1},   {TN_Q5_K, 36164, 0x3af1582b},
    {TN_Q6_K, 17776, 0xcaa69af5},   {TN_IQ4_NL, 75857, 0xda2ea0c5}, {TN_IQ4_XS, 76443, 0xe5497d15},
    {TN_MXFP4, 114651, 0x34116dc5},
};
enum { TYPES = sizeof types / sizeof *types };

static double uniform(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static float gauss(void)
{
    return (float)(sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
}

static void gaussian_rows_come_as_near_as_llama_cpp_brings_them(void **state)
{
    (void)state;
    static float x[VALUES], back[VALUES];
    static uint8_t bytes[MOST_BYTES];
    for (int i = 0; i < VALUES; i++)
        x[i] = 0.02f * gauss();
    for (int t = 0; t < TYPES; t++) {
        double error = 0, square = 0;
        assert_int_equal(tn_quant_encode(types[t].type, x, VALUES, bytes), 0);
        assert_int_equal(tn_quant_decode(types[t].type, bytes, VALUES, back), 0);
        for (int i = 0; i < VALUES; i++) {
            error += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
            square += (double)x[i] * (double)x[i];
        }
        double relative = sqrt(error / square);
        if (!(relative <= types[t].error * 1e-6))
            fail_msg("%s: %.6f", tn_type_info(types[t].type)->name, relative);
    }
}

static void decoded_bits_are_the_known_ones(void **state)
{
    (void)state;
    static float x[1024];
    static uint8_t bytes[4096];
    for (int t = 0; t < TYPES; t++) {
        size_t row = tn_row_bytes(types[t].type, 1024);
        for (size_t i = 0; i < row; i++)
            bytes[i] = (uint8_t)((i * 37 + i / 7 * 11 + 5) & 0x7b); // no exponent of all ones
        assert_int_equal(tn_quant_decode(types[t].type, bytes, 1024, x), 0);
        uint32_t hash = 2166136261u;
        for (int i = 0; i < 1024; i++) {
            uint32_t bits = tn_float_bits(x[i]);
            hash = (hash ^ (bits == 0x80000000u ? 0 : bits)) * 16777619u; // either zero
        }
        if (hash != types[t].hash)
            fail_msg("%s: 0x%08x", tn_type_info(types[t].type)->name, hash);
    }
}

// Rows that a search could stumble over.
static void special_rows_stay_near(void **state)
{
    (void)state;
    static float x[512], back[512];
    static uint8_t bytes[2048];
    for (int kind = 0; kind < 8; kind++) {
        float most = 0;
        for (int i = 0; i < 512; i++) {
            const float values[] = {0,
                                    1,
                                    -3,
                                    i == 77 ? -5.0f : 0,
                                    i % 2 ? 1e-12f : -1e-13f,
                                    (float)i,
                                    i % 32 ? 1e-3f : 1000.0f,
                                    -2e-6f * (float)(i % 5)};
            x[i] = values[kind];
            most = fmaxf(most, fabsf(x[i]));
        }
        for (int t = 0; t < TYPES; t++) {
            assert_int_equal(tn_quant_encode(types[t].type, x, 512, bytes), 0);
            tn_quant_decode(types[t].type, bytes, 512, back);
            for (int i = 0; i < 512; i++) {
                // A step of the coarsest type, or of half precision's smallest numbers.
                if (!(fabsf(back[i] - x[i]) <= 0.5f * most + 1e-5f))
                    fail_msg("%s, kind %d: %g became %g", tn_type_info(types[t].type)->name, kind,
                             (double)x[i], (double)back[i]);
            }
        }
    }
}

// What a type holds exactly comes back so.
static void levels_are_kept(void **state)
{
    (void)state;
    static float x[256], back[256];
    static uint8_t bytes[1024];
    static const struct {
        uint32_t type;
        int low, high;
    } exact[] = {{TN_Q8_0, -127, 127}, {TN_Q4_0, -8, 7}, {TN_Q5_0, -16, 15},
                 {TN_Q4_1, 0, 15},     {TN_Q5_1, 0, 31}, {TN_Q6_K, -32, 31}};
    for (size_t t = 0; t < sizeof exact / sizeof *exact; t++) {
        int n = exact[t].high - exact[t].low + 1;
        for (int i = 0; i < 256; i++) // both ends in every run
            x[i] = 0.25f * (float)(i % 16 == 0   ? exact[t].low
                                   : i % 16 == 1 ? exact[t].high
                                                 : exact[t].low + i * 7 % n);
        assert_int_equal(tn_quant_encode(exact[t].type, x, 256, bytes), 0);
        tn_quant_decode(exact[t].type, bytes, 256, back);
        for (int i = 0; i < 256; i++) {
            if (fabsf(back[i] - x[i]) > 1e-3f)
                fail_msg("%s: %g became %g", tn_type_info(exact[t].type)->name, (double)x[i],
                         (double)back[i]);
        }
    }
}

static void what_cannot_be_held_is_refused(void **state)
{
    (void)state;
    static float x[256];
    static uint8_t bytes[1024];
    for (int t = 0; t < TYPES; t++) {
        uint32_t type = types[t].type;
        bool wide = type == TN_F32 || type == TN_BF16;
        x[200] = NAN;
        assert_int_equal(tn_quant_encode(type, x, 256, bytes), -EINVAL);
        x[200] = -INFINITY;
        assert_int_equal(tn_quant_encode(type, x, 256, bytes), -EINVAL);
        x[200] = 3e38f;
        assert_int_equal(tn_quant_encode(type, x, 256, bytes), wide ? 0 : -ERANGE);
        x[200] = 9e8f;
        int rc = tn_quant_encode(type, x, 256, bytes);
        assert_int_equal(rc, wide || type == TN_MXFP4 ? 0 : -ERANGE);
        x[200] = 1000;
        assert_int_equal(tn_quant_encode(type, x, 256, bytes), 0);
        x[200] = 0;
    }
    assert_int_equal(tn_quant_encode(TN_Q4_0, x, 33, bytes), -EINVAL);
    assert_int_equal(tn_quant_encode(TN_Q4_K, x, 32, bytes), -EINVAL);
    assert_int_equal(tn_quant_encode(TN_Q8_K, x, 256, bytes), -ENOTSUP);
    assert_int_equal(tn_quant_decode(5, bytes, 256, x), -ENOTSUP);
    assert_int_equal(tn_quant_decode(TN_PACKED | TN_Q8_0, bytes, 256, x), -ENOTSUP);
    assert_false(tn_quant_encodes(TN_I32));
    assert_true(tn_quant_decodes(TN_MXFP4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_rows_come_as_near_as_llama_cpp_brings_them),
        cmocka_unit_test(decoded_bits_are_the_known_ones),
        cmocka_unit_test(special_rows_stay_near),
        cmocka_unit_test(levels_are_kept),
        cmocka_unit_test(what_cannot_be_held_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
