/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Holds the trainer's matrix product against a plain one, over odd shapes and strides.
 */
// Links: tensor/train/gemm.c tensor/cpu/gemm.c tensor/cpu/gemm_scalar.c tensor/cpu/gemm_avx2.c
// Links: tensor/cpu/gemm_avx512.c tensor/cpu/gemm8_scalar.c tensor/cpu/gemm8_avx2.c
// Links: tensor/cpu/gemm8_avx512vnni.c tensor/core/pool.c
#include "tensor/train/gemm.h"

#include "tensor/train/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LARGEST = 70, DEEPEST = 600 };

static float *random_matrix(size_t count, uint64_t *state)
{
    float *m = malloc(count * sizeof *m);

    assert_non_null(m);
    for (size_t i = 0; i < count; i++)
        m[i] = (float)train_random_normal(state);
    return m;
}

static void compare(size_t m, size_t n, size_t k, bool turn_a, bool turn_b, bool accumulate,
                    uint64_t *state)
{
    const size_t c_row = n + 3;
    float *a = random_matrix(m * k, state), *b = random_matrix(k * n, state);
    float *c = random_matrix(m * c_row, state), *before = malloc(m * c_row * sizeof *before);
    const struct train_matrix ma = {a, turn_a ? 1 : k, turn_a ? m : 1};
    const struct train_matrix mb = {b, turn_b ? 1 : n, turn_b ? k : 1};

    assert_non_null(before);
    for (size_t i = 0; i < m * c_row; i++)
        before[i] = c[i];
    train_gemm(m, n, k, ma, mb, c, c_row, accumulate);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < c_row; j++) {
            double sum = accumulate ? (double)before[i * c_row + j] : 0;

            if (j >= n) { /* what lies between rows stays */
                assert_true(c[i * c_row + j] == before[i * c_row + j]);
                continue;
            }
            for (size_t d = 0; d < k; d++)
                sum += (double)ma.data[i * ma.row + d * ma.column] *
                       (double)mb.data[d * mb.row + j * mb.column];
            assert_true(fabs(sum - (double)c[i * c_row + j]) < 1e-3);
        }
    }
    free(a);
    free(b);
    free(c);
    free(before);
}

static void products_equal_plain_ones(void **unused)
{
    uint64_t state = 11;

    (void)unused;
    for (int i = 0; i < 60; i++) {
        const size_t m = 1 + train_random_below(&state, LARGEST);
        const size_t n = 1 + train_random_below(&state, LARGEST);
        const size_t k = 1 + train_random_below(&state, i % 4 ? LARGEST : DEEPEST);

        compare(m, n, k, i & 1, i & 2, i & 4, &state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_plain_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
