// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Holds the matrix products of every level against doubles and exact integers, over odd shapes,
// strides, transpositions, unaligned operands, small workspaces; and against themselves, bit for
// bit, on other numbers of threads.
//
// Links: tensor/cpu/gemm.c tensor/cpu/gemm_scalar.c tensor/cpu/gemm_avx2.c tensor/cpu/gemm_avx512.c
// Links: tensor/cpu/gemm8_scalar.c tensor/cpu/gemm8_avx2.c tensor/cpu/gemm8_avx512vnni.c
// Links: tensor/core/pool.c tensor/core/pool_host.c
#include "tensor/gemm.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state = 99;

static uint32_t random_u32(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 32);
}

static bool machine_has(int isa)
{
    switch (isa) {
    case TN_ISA_SCALAR:
        return true;
    case TN_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case TN_ISA_AVX512:
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    default:
        return __builtin_cpu_supports("avx512vnni");
    }
}

// An operand of random values whose memory ends with its last element.
struct matrix {
    struct tn_operand o;
    uint8_t *block;
    size_t bytes; // of an element
};

static struct matrix make(size_t rows, size_t columns, size_t bytes)
{
    struct matrix m = {.o = {.transposed = random_u32() & 1}, .bytes = bytes};
    size_t lines = m.o.transposed ? columns : rows, line = m.o.transposed ? rows : columns;
    size_t shift = bytes * (random_u32() % 5);
    m.o.stride = line + random_u32() % 4;
    size_t count = lines ? (lines - 1) * m.o.stride + line : 0;
    m.block = malloc(shift + count * bytes + 1);
    assert_non_null(m.block);
    m.o.data = m.block + shift;
    for (size_t i = 0; i < count; i++) {
        uint32_t u = random_u32();
        float f = (float)(int32_t)u * 0x1p-31f;
        memcpy(m.block + shift + i * bytes, bytes == 4 ? (const void *)&f : &u, bytes);
    }
    return m;
}

static const void *element(const struct matrix *m, size_t i, size_t j)
{
    size_t at = m->o.transposed ? j * m->o.stride + i : i * m->o.stride + j;
    return (const uint8_t *)m->o.data + at * m->bytes;
}

static double value(const struct matrix *m, size_t i, size_t j, bool is_signed)
{
    const void *p = element(m, i, j);
    if (m->bytes == 4) {
        float f;
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    return is_signed ? *(const int8_t *)p : *(const uint8_t *)p;
}

// One random product on every level, with a large and a small workspace and more threads.
static void check(size_t m, size_t n, size_t k, bool integers, struct tn_pool *pool)
{
    size_t bytes = integers ? 1 : 4, c_stride = n + random_u32() % 3;
    struct matrix a = make(m, k, bytes), b = make(k, n, bytes);
    struct tn_gemm g = {.m = m,
                        .n = n,
                        .k = k,
                        .a = a.o,
                        .b = b.o,
                        .c_stride = c_stride,
                        .alpha = random_u32() % 2 ? 1 : 0.5f,
                        .beta = (float)(random_u32() % 3) - 1,
                        .a_signed = random_u32() & 1,
                        .accumulate = random_u32() & 1};
    size_t floats = m * c_stride;
    float *before = malloc(floats * 4), *c = malloc(floats * 4), *first = malloc(floats * 4);
    double *right = calloc(floats, sizeof *right);
    void *room = aligned_alloc(64, TN_GEMM_WORKSPACE_LEAST);
    assert_true(before && c && first && right && room);
    for (size_t i = 0; i < floats; i++) {
        int32_t whole = (int32_t)(random_u32() % 2000) - 1000;
        before[i] = (float)whole / 1000;
        if (integers) {
            memcpy(before + i, &whole, 4);
        }
    }
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0, old = (double)before[i * c_stride + j];
            for (size_t l = 0; l < k; l++) {
                sum += value(&a, i, l, g.a_signed) * value(&b, l, j, true);
            }
            if (integers) {
                int32_t whole;
                memcpy(&whole, before + i * c_stride + j, 4);
                right[i * c_stride + j] = sum + (g.accumulate ? whole : 0);
            } else {
                right[i * c_stride + j] = (double)g.alpha * sum + (double)g.beta * old;
            }
        }
    }
    for (int isa = 0; isa < TN_ISA_COUNT; isa++) {
        for (int way = 0; way < 3 && machine_has(isa); way++) {
            g.isa = (enum tn_isa)isa;
            g.c = c;
            g.pool = way == 2 ? pool : NULL;
            g.workspace = way == 1 ? room : NULL;
            g.workspace_bytes = way == 1 ? TN_GEMM_WORKSPACE_LEAST : 0;
            memcpy(c, before, floats * 4);
            assert_int_equal((integers ? tn_gemm_int8 : tn_gemm)(&g), 0);
            if (way == 0) {
                memcpy(first, c, floats * 4);
            }
            assert_memory_equal(c, first, floats * 4);
        }
        for (size_t i = 0; i < floats && machine_has(isa); i++) {
            if (i % c_stride >= n) { // what lies between rows stays
                assert_memory_equal(c + i, before + i, 4);
            } else if (integers) {
                int32_t whole;
                memcpy(&whole, c + i, 4);
                assert_true((double)whole == right[i]);
            } else {
                assert_true(fabs((double)c[i] - right[i]) < 2e-7 * (double)(k + 10));
            }
        }
    }
    free(a.block);
    free(b.block);
    free(before);
    free(c);
    free(first);
    free(right);
    free(room);
}

static void check_many(bool integers)
{
    struct tn_pool *pool = tn_pool_threads(3);
    assert_non_null(pool);
    for (size_t i = 0; i < 40; i++) {
        size_t k = i % 5 == 0 ? random_u32() % 1000 : random_u32() % 70;
        check(1 + random_u32() % 70, 1 + random_u32() % 90, k, integers, pool);
    }
    check(5, 700, 9, integers, pool);   // more columns than are packed at a time
    check(9, 1100, 43, integers, pool); // columns of its own for each worker
    check(6, 2100, 390, integers, pool);
    check(300, 40, 33, integers, pool);
    check(60, 64, 1700, integers, pool);
    tn_pool_free(pool);
}

static void floats_match_doubles(void **unused)
{
    (void)unused;
    check_many(false);
}

static void integers_are_exact(void **unused)
{
    (void)unused;
    check_many(true);
}

static void extreme_integers_do_not_saturate(void **unused)
{
    (void)unused;
    enum { K = 65536 };
    int8_t *a = malloc(K), *b = malloc(K);
    int32_t c;
    assert_true(a && b);
    for (int sign = 0; sign < 2; sign++) {
        memset(a, sign ? 0x80 : 0xff, K);
        memset(b, 0x80, K);
        for (int isa = 0; isa < TN_ISA_COUNT; isa++) {
            if (machine_has(isa)) {
                const struct tn_gemm g = {.m = 1,
                                          .n = 1,
                                          .k = K,
                                          .a = {a, K, false},
                                          .b = {b, 1, false},
                                          .c = &c,
                                          .c_stride = 1,
                                          .a_signed = sign,
                                          .isa = (enum tn_isa)isa};
                assert_int_equal(tn_gemm_int8(&g), 0);
                assert_int_equal(c, sign ? 128 * 128 * K : -255 * 128 * K);
            }
        }
    }
    free(a);
    free(b);
}

static void zero_beta_does_not_read_c(void **unused)
{
    (void)unused;
    for (int isa = 0; isa < TN_ISA_COUNT; isa++) {
        float x[40], c[40];
        for (size_t i = 0; i < 40; i++) {
            x[i] = 1;
            c[i] = NAN;
        }
        const struct tn_gemm g = {.m = 1,
                                  .n = 40,
                                  .k = 1,
                                  .a = {x, 1, false},
                                  .b = {x, 40, false},
                                  .c = c,
                                  .c_stride = 40,
                                  .alpha = 2,
                                  .isa = (enum tn_isa)isa};
        if (machine_has(isa)) {
            assert_int_equal(tn_gemm(&g), 0);
            for (size_t i = 0; i < 40; i++) {
                assert_true(c[i] == 2.0f);
            }
        }
    }
}

static void wrong_arguments_are_refused(void **unused)
{
    (void)unused;
    float x[16] = {0}, c[16];
    const struct tn_gemm right = {.m = 4,
                                  .n = 4,
                                  .k = 4,
                                  .a = {x, 4, false},
                                  .b = {x, 4, true},
                                  .c = c,
                                  .c_stride = 4,
                                  .alpha = 1};
    struct tn_gemm g = right;
    assert_int_equal(tn_gemm(&g), 0);
    g.a.data = NULL;
    assert_int_equal(tn_gemm(&g), -EINVAL);
    g = right;
    g.b.stride = 3;
    assert_int_equal(tn_gemm(&g), -EINVAL);
    g = right;
    g.c_stride = 3;
    assert_int_equal(tn_gemm(&g), -EINVAL);
    g = right;
    g.workspace = c;
    g.workspace_bytes = sizeof c;
    assert_int_equal(tn_gemm(&g), -EINVAL);
    g = right;
    g.isa = TN_ISA_COUNT;
    assert_int_equal(tn_gemm(&g), -EINVAL);
    assert_int_equal(tn_gemm_int8(&g), -EINVAL);
    g = right;
    g.k = 65537;
    g.a.stride = g.b.stride = g.k;
    assert_int_equal(tn_gemm_int8(&g), -EINVAL);
    g = right;
    g.m = 0;
    assert_int_equal(tn_gemm(&g), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_match_doubles),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(extreme_integers_do_not_saturate),
        cmocka_unit_test(zero_beta_does_not_read_c),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
