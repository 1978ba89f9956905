// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Integer products of every type on every level: against double arithmetic over the dequantised
// weights, row products against the plain ones and panels against row products, bit for bit, over
// odd shapes and extreme values.
//
// Links: @tensor
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/packed.h"
#include "tensor/cpu/test_weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static enum tn_isa best_isa;

#define EACH_ISA(isa) for (int isa = 0; isa <= (int)best_isa; isa++)

// Everything a level knows of some columns.
struct columns {
    struct tn_panel_columns p;
    int8_t *values;
    float *scales;
    int32_t *sums, *start16, *start32;
    int16_t *sums16, *sums32, *times_8;
    uint8_t *arranged;
};

static struct columns quantised(enum tn_isa isa, uint32_t type, const float *x, size_t k, size_t n)
{
    const struct tn_integer_kernels *kn = tn_integer_kernels_of(isa);
    enum tn_columns_kind kind = tn_columns_kind_of(type);
    size_t block = kind == TN_COLUMNS_32 ? 32 : 256, run = kind == TN_COLUMNS_32 ? 32 : 16;
    struct columns q = {.values = malloc(n * k),
                        .scales = malloc(n * (k / block) * 4),
                        .sums = malloc(n * (k / run) * 4),
                        .start16 = malloc(n * (k / 16) * 4),
                        .start32 = malloc(n * (k / 32) * 4),
                        .sums16 = malloc(n * (k / 16) * 2),
                        .sums32 = malloc(n * (k / 32) * 2),
                        .times_8 = malloc(n * (k / 32) * 2),
                        .arranged = malloc(n * k * kn->arranged_bytes + 1)};
    q.p = (struct tn_panel_columns){.x = {.kind = kind,
                                          .k = k,
                                          .values = q.values,
                                          .scales = q.scales,
                                          .sums = q.sums,
                                          .arranged = q.arranged,
                                          .arranged_bytes = kn->arranged_bytes},
                                    .start16 = q.start16,
                                    .start32 = q.start32,
                                    .sums16 = q.sums16,
                                    .sums32 = q.sums32,
                                    .sums32_times_8 = q.times_8};
    for (size_t c = 0; c < n; c++) {
        kn->quantise(kind, x + c * k, k, q.values + c * k, q.scales + c * (k / block),
                     q.sums + c * (k / run));
        if (kn->arrange) {
            kn->arrange(q.values + c * k, k, q.arranged + c * k * kn->arranged_bytes);
        }
    }
    tn_panel_columns_fill(&q.p, 0, n);
    return q;
}

static void release(struct columns *q)
{
    void *all[] = {q->values, q->scales, q->sums,    q->start16, q->start32,
                   q->sums16, q->sums32, q->times_8, q->arranged};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static void fill_columns(float *x, size_t count, size_t k)
{
    for (size_t i = 0; i < count * k; i++) {
        x[i] = random_float();
    }
    for (size_t c = 0; c < count; c += 3) { // whole columns at their extremes
        for (size_t i = 0; i < k; i++) {
            x[c * k + i] = c % 2 ? 1.0f : -1.0f;
        }
    }
    memset(x, 0, (k < 40 ? k : 40) * sizeof *x); // a block of nothing
}

static size_t random_k(uint32_t type, size_t most)
{
    size_t block = tn_type_info(type)->block_values;
    return block * (1 + random_u32() % (most / block));
}

static void columns_are_quantised_as_defined_on_every_level(void **unused)
{
    (void)unused;
    enum { K = 768, N = 5 };
    static float x[N * K];
    fill_columns(x, N, K);
    static const uint32_t types[] = {TN_Q8_0, TN_Q4_K};
    for (int t = 0; t < 2; t++) {
        size_t block = t ? 256 : 32, run = t ? 16 : 32;
        EACH_ISA(isa)
        {
            struct columns q = quantised((enum tn_isa)isa, types[t], x, K, N);
            for (size_t i = 0; i < N * K; i++) {
                float most = 0;
                for (size_t j = i / block * block; j < (i / block + 1) * block; j++) {
                    most = fmaxf(most, fabsf(x[j]));
                }
                assert_true(q.scales[i / block] == most / 127.0f);
                long want = most > 0 ? lrintf(x[i] * (127.0f / most)) : 0;
                assert_int_equal(q.values[i], want);
                int32_t sum = 0;
                for (size_t j = i / run * run; j < (i / run + 1) * run; j++) {
                    sum += q.values[j];
                }
                assert_int_equal(q.sums[i / run], sum);
            }
            release(&q);
        }
    }
}

static void row_products_match_doubles(void **unused)
{
    (void)unused;
    enum { ROWS = 5, COLUMNS = 4 };
    for (int t = 0; t < INTEGER_TYPES; t++) {
        uint32_t type = integer_types[t];
        size_t k = random_k(type, 1024), bytes = tn_row_bytes(type, k);
        uint8_t *w = malloc(ROWS * bytes);
        float *x = malloc(COLUMNS * k * sizeof *x), *row = malloc(k * sizeof *row);
        random_rows(type, w, ROWS, k);
        fill_columns(x, COLUMNS, k);
        size_t block = tn_columns_kind_of(type) == TN_COLUMNS_32 ? 32 : 256;
        EACH_ISA(isa)
        {
            struct columns q = quantised((enum tn_isa)isa, type, x, k, COLUMNS);
            float out[COLUMNS][ROWS];
            tn_row_product_of((enum tn_isa)isa, type)(w, bytes, ROWS, &q.p.x, COLUMNS, out[0],
                                                      ROWS);
            for (size_t r = 0; r < ROWS; r++) {
                tn_dequantise_row(type, w + r * bytes, k, row);
                for (size_t c = 0; c < COLUMNS; c++) {
                    double sum = 0, size = 0;
                    for (size_t i = 0; i < k; i++) {
                        double v = (double)row[i] * (double)q.values[c * k + i] *
                                   (double)q.scales[(c * k + i) / block];
                        sum += v;
                        size += fabs(v);
                    }
                    // Where weights and minima cancel out, each is larger than the sum of both.
                    assert_true(fabs((double)out[c][r] - sum) <= 1e-5 * size + 1e-4);
                }
            }
            release(&q);
        }
        free(w);
        free(x);
        free(row);
    }
}

static void row_products_have_the_bits_of_the_plain_ones(void **unused)
{
    (void)unused;
    enum { ROWS = 37, COLUMNS = 9 };
    for (int round = 0; round < 3 * INTEGER_TYPES; round++) {
        uint32_t type = integer_types[round % INTEGER_TYPES];
        size_t k = random_k(type, 1024), bytes = tn_row_bytes(type, k);
        size_t rows = 1 + random_u32() % ROWS, columns = 1 + random_u32() % COLUMNS;
        uint8_t *w = malloc(rows * bytes); // exactly: reading past the last row is an error
        float *x = malloc(columns * k * sizeof *x);
        random_rows(type, w, rows, k);
        fill_columns(x, columns, k);
        EACH_ISA(isa)
        {
            struct columns q = quantised((enum tn_isa)isa, type, x, k, columns);
            float out[COLUMNS * ROWS], plain[COLUMNS * ROWS];
            tn_row_product *const *reference =
                isa == TN_ISA_SCALAR ? tn_reference_products : tn_reference_products_fma;
            reference[type](w, bytes, rows, &q.p.x, columns, plain, rows);
            tn_row_product_of((enum tn_isa)isa, type)(w, bytes, rows, &q.p.x, columns, out, rows);
            for (size_t i = 0; i < rows * columns; i++) {
                if (out[i] != plain[i]) {
                    fail_msg("%s %s k %zu rows %zu columns %zu: [%zu][%zu] is %a, expected %a",
                             tn_isa_name((enum tn_isa)isa), tn_type_info(type)->name, k, rows,
                             columns, i / rows, i % rows, (double)out[i], (double)plain[i]);
                }
            }
            release(&q);
        }
        free(w);
        free(x);
    }
}

static void panels_have_the_bits_of_row_products(void **unused)
{
    (void)unused;
    enum { ROWS = 70, COLUMNS = 64, STRIDE = 96 };
    struct tn_panel *scratch = aligned_alloc(64, TN_PANEL_TOGETHER * sizeof(struct tn_panel));
    float *out = malloc(COLUMNS * STRIDE * sizeof *out);
    float *rows_out = malloc(COLUMNS * ROWS * sizeof *rows_out);
    for (int round = 0; round < 4 * INTEGER_TYPES; round++) {
        uint32_t type = integer_types[round % INTEGER_TYPES];
        size_t k = random_k(type, round < INTEGER_TYPES ? 2048 : 512);
        size_t bytes = tn_row_bytes(type, k);
        size_t rows = 1 + random_u32() % ROWS;
        size_t columns = TN_PANEL_COLUMNS + random_u32() % (COLUMNS - TN_PANEL_COLUMNS);
        // Exactly as large as the rows, and aligned to nothing: rows of a file may lie so.
        uint8_t *block = malloc(rows * bytes + 1), *w = block + 1;
        uint8_t *packed = aligned_alloc(64, ((rows + 15) / 16 * 16 * bytes + 63) / 64 * 64);
        float *x = malloc(columns * k * sizeof *x);
        random_rows(type, w, rows, k);
        for (size_t r = 0; r < rows; r += 16) {
            tn_pack_strip(type, w + r * bytes, bytes, rows - r < 16 ? rows - r : 16, k,
                          packed + r * bytes);
        }
        fill_columns(x, columns, k);
        for (int i = 0; i < 2 * ((int)best_isa + 1); i++) {
            enum tn_isa isa = (enum tn_isa)(i / 2);
            const struct tn_integer_kernels *kn = tn_integer_kernels_of(isa);
            if (!kn->multiply) {
                continue;
            }
            struct columns q = quantised(isa, type, x, k, columns);
            tn_reference_products_fma[type](w, bytes, rows, &q.p.x, columns, rows_out, ROWS);
            memset(out, 0x55, COLUMNS * STRIDE * sizeof *out);
            kn->multiply(&(struct tn_panel_work){.type = i % 2 ? type | TN_PACKED : type,
                                                 .w = i % 2 ? packed : w,
                                                 .row_bytes = bytes,
                                                 .rows = rows,
                                                 .x = &q.p,
                                                 .columns = columns,
                                                 .scratch = scratch,
                                                 .out = out,
                                                 .out_stride = STRIDE});
            for (size_t c = 0; c < columns; c++) {
                for (size_t r = 0; r < rows; r++) {
                    float got = out[c * STRIDE + r], want = rows_out[c * ROWS + r];
                    if (got != want) {
                        fail_msg("%s %s%s k %zu rows %zu columns %zu: [%zu][%zu] is %a, not %a",
                                 tn_isa_name(isa), tn_type_info(type)->name, i % 2 ? " packed" : "",
                                 k, rows, columns, c, r, (double)got, (double)want);
                    }
                }
            }
            release(&q);
        }
        free(block);
        free(packed);
        free(x);
    }
    free(scratch);
    free(out);
    free(rows_out);
}

int main(void)
{
    best_isa = tn_isa_best();
    printf("levels up to %s\n", tn_isa_name(best_isa));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_quantised_as_defined_on_every_level),
        cmocka_unit_test(row_products_match_doubles),
        cmocka_unit_test(row_products_have_the_bits_of_the_plain_ones),
        cmocka_unit_test(panels_have_the_bits_of_row_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
